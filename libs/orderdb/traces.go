package orderdb

import (
	"strconv"
	"strings"
	"time"
)

// TraceChannel is the channel on which a writer tells readers which of the orders that
// it has just committed are traced. Nothing depends on it: a reader that does not
// listen, or misses a notification, records no span of these orders.
const TraceChannel = "orders_traced"

// maxTraces is how many orders a notification names at most, so that it is below the
// 8,000 bytes that PostgreSQL allows. Further ones of a transaction are left out.
const maxTraces = 60

// Trace is an order and the span that wrote it.
type Trace struct{ OrderUID, Traceparent string }

// FormatTraces returns the payload of a notification: a line with the time in
// nanoseconds since 1970 just before the commit, and one for each order.
func FormatTraces(at time.Time, traces []Trace) string {
	payload := strconv.AppendInt(nil, at.UnixNano(), 10)
	for _, t := range traces[:min(len(traces), maxTraces)] {
		payload = append(payload, "\n"+t.Traceparent+" "+t.OrderUID...)
	}
	return string(payload)
}

// ParseTraces reads such a payload. What it cannot read it leaves out: anybody who may
// log in to the database can notify.
func ParseTraces(payload string) (at time.Time, traces []Trace) {
	first, rest, _ := strings.Cut(payload, "\n")
	nanos, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return time.Time{}, nil
	}
	for line := range strings.SplitSeq(rest, "\n") {
		if traceparent, uid, ok := strings.Cut(line, " "); ok && len(traces) < maxTraces {
			traces = append(traces, Trace{uid, traceparent})
		}
	}
	return time.Unix(0, nanos), traces
}
