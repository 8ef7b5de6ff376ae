// Package batch decides when a batch is flushed. The worker's batches of records and
// the reader's rounds of changes follow the same policy.
//
// A batch costs a database as much as dozens of orders in it. So under light load a
// batch is flushed as soon as there is something in it: a single order never waits.
// Under load batches grow: the next one is flushed only when the period has passed,
// or when it has enough things or bytes.
package batch

import "time"

// Limits say when a batch is flushed.
type Limits struct {
	// Busy is from how many things on a batch indicates load: the batch after it
	// waits for the period. 0: every batch waits.
	Busy int
	// Count and Bytes flush a batch before the period has passed; 0: no limit.
	Count int
	Bytes int64
	// Period is the time between two flushes under load.
	Period time.Duration
}

// Trigger is what flushed a batch.
type Trigger string

// The triggers.
const (
	Arrival Trigger = "arrival" // light load: the batch did not wait
	Count   Trigger = "count"
	Bytes   Trigger = "bytes"
	Period  Trigger = "period"
)

// Policy follows one batch after another. It has no goroutine and no timer: the
// caller adds what arrives, waits for UntilNext where that is not 0, and flushes. It
// is not safe for concurrent use.
type Policy struct {
	limits Limits
	clock  time.Time
	count  int
	bytes  int64
	due    time.Time // the batch waits until then; zero: it does not
}

// New returns a policy without load. If clock is not zero, the period ends at
// multiples of Period after it: policies with one clock flush at the same instants.
func New(limits Limits, clock time.Time) *Policy { return &Policy{limits: limits, clock: clock} }

// Add adds things to the batch and reports whether it is full, that is, to be
// flushed before the period has passed.
func (p *Policy) Add(count int, bytes int64) (full bool) {
	p.count += count
	p.bytes += bytes
	return p.full() != ""
}

func (p *Policy) full() Trigger {
	switch {
	case p.limits.Count > 0 && p.count >= p.limits.Count:
		return Count
	case p.limits.Bytes > 0 && p.bytes >= p.limits.Bytes:
		return Bytes
	}
	return ""
}

// UntilNext returns how long the batch is to wait: 0 if it is full, if the period
// has passed, or under light load.
func (p *Policy) UntilNext(now time.Time) time.Duration {
	if p.full() != "" {
		return 0
	}
	return max(0, p.due.Sub(now))
}

// Flush begins the next batch at now. It returns what triggered the flush; the
// caller may have reasons of its own to flush earlier, which it has to know itself.
func (p *Policy) Flush(now time.Time) Trigger {
	trigger := p.full()
	switch {
	case trigger != "":
	case p.due.IsZero():
		trigger = Arrival
	default:
		trigger = Period
	}
	p.due = time.Time{}
	if p.count >= p.limits.Busy && p.limits.Period > 0 {
		p.due = p.periodAfter(now)
	}
	p.count, p.bytes = 0, 0
	return trigger
}

// periodAfter returns when a period that begins at t ends.
func (p *Policy) periodAfter(t time.Time) time.Time {
	if p.clock.IsZero() {
		return t.Add(p.limits.Period)
	}
	return t.Add(p.limits.Period - t.Sub(p.clock)%p.limits.Period)
}
