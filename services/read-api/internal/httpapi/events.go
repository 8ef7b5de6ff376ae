package httpapi

import (
	"bufio"
	"cmp"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
)

const (
	// streamBuffer is how many bytes of events are collected before they are sent.
	streamBuffer = 16 << 10
	// streamHello tells EventSource to reconnect after one second.
	streamHello = "retry: 1000\n"
)

// eventWriter writes server-sent events. After an error it writes no more.
type eventWriter struct {
	to      http.ResponseWriter
	control *http.ResponseController
	filter  orders.Filter
	masked  bool                      // without personal data
	shown   func(uids []string) error // called before orders are shown, which an error prevents; nil: they are masked, or all may see them
	from    *stream.Listener
	known   *stream.Batch // what the client caught up with; nil: nothing
	buffer  *bufio.Writer // nil while there is nothing to send, as for most clients
	events  int
	sent    prometheus.Counter
	counted int // events
	err     error

	deliver    func(uid string) trace.Span // begins the span of an order's delivery, nil if it has none; nil: there are no spans
	delivering []trace.Span
}

var eventBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, streamBuffer) }}

// batch writes the events of a batch. The last one has the id of the batch's end, the
// others that of its beginning: a client that reconnects in between gets the whole
// batch again.
func (e *eventWriter) batch(b *stream.Batch) {
	if e.known != nil {
		if e.known.Covers(b) {
			return
		}
		e.known = nil
	}
	if b.Reset != "" {
		e.reset(b.To, b.Reset)
		return
	}
	if e.err = cmp.Or(e.err, e.record(b)); e.err != nil {
		return
	}
	var waiting stream.Event
	waits := false
	b.Matching(e.filter, func(event stream.Event) {
		if waits {
			e.event(b.From, waiting)
		}
		waiting, waits = event, true
	})
	if waits {
		e.event(b.To, waiting)
	}
}

// page writes orders of a snapshot. Its events have no ids: a client that loses its
// connection before the snapshot's end has to begin again.
func (e *eventWriter) page(page orders.Page) {
	if e.err == nil && e.shown != nil {
		e.err = e.shown(page.UIDs)
	}
	if len(page.UIDs) == 0 {
		e.text(": alive\n\n") // it is still searching
	}
	for i, uid := range page.UIDs {
		if e.err == nil {
			e.event("", stream.Event{UID: uid, JSON: page.Orders[i]})
		}
	}
}

// snapshotEnd writes what has changed meanwhile, and that this was all.
func (e *eventWriter) snapshotEnd(missed *stream.Batch) {
	unmarked := *missed
	unmarked.From, unmarked.To = "", ""
	e.batch(&unmarked)
	e.events++
	e.text("id: " + missed.To + "\nevent: snapshot-end\ndata: {}\n\n")
}

// record has the orders recorded that a batch is about to show.
func (e *eventWriter) record(b *stream.Batch) error {
	if e.shown == nil {
		return nil
	}
	var uids []string
	b.Matching(e.filter, func(event stream.Event) {
		if event.Order != nil {
			uids = append(uids, event.UID)
		}
	})
	return e.shown(uids)
}

func (e *eventWriter) event(id string, event stream.Event) {
	e.events++
	if e.deliver != nil {
		if span := e.deliver(event.UID); span != nil {
			e.delivering = append(e.delivering, span)
		}
	}
	if id != "" {
		e.text("id: " + id + "\n")
	}
	if event.JSON == nil {
		kind := "delete"
		if event.Left {
			kind = "left"
		}
		e.text("event: " + kind + "\ndata: {\"order_uid\":")
		uid, err := json.Marshal(event.UID) // one inserted by hand may contain anything
		if err != nil {
			panic(err) // it is a string
		}
		e.bytes(uid)
		e.text("}\n\n")
		return
	}
	e.text("event: upsert\ndata: ")
	canonical := event.JSON // it is one line
	if e.masked {
		canonical = model.AppendMasked(e.open().AvailableBuffer(), canonical)
	}
	e.bytes(canonical)
	e.text("\n\n")
}

func (e *eventWriter) reset(id, reason string) {
	e.events++
	e.text("id: " + id + "\nevent: reset\ndata: {\"reason\":\"" + reason + "\"}\n\n")
}

// end is the last event.
func (e *eventWriter) end(reason string) {
	e.text("event: end\ndata: {\"reason\":\"" + reason + "\"}\n\n")
	e.flush()
}

// id sends the position without an event.
func (e *eventWriter) id(id string) { e.text("id: " + id + "\n\n") }

// heartbeat shows that the connection is alive, and sends the position that was
// reached without events.
func (e *eventWriter) heartbeat(id string) {
	e.text(": alive\n")
	e.id(id)
}

func (e *eventWriter) text(text string) {
	if e.err == nil {
		_, e.err = e.open().WriteString(text)
	}
}

func (e *eventWriter) bytes(data []byte) {
	if e.err == nil {
		_, e.err = e.open().Write(data)
	}
}

func (e *eventWriter) open() *bufio.Writer {
	if e.buffer == nil {
		e.buffer = eventBuffers.Get().(*bufio.Writer)
		e.buffer.Reset(e)
	}
	return e.buffer
}

// release returns the buffer to the pool.
func (e *eventWriter) release() {
	if e.buffer != nil {
		e.buffer.Reset(nil)
		eventBuffers.Put(e.buffer)
		e.buffer = nil
	}
}

// Write sends what the buffer had.
func (e *eventWriter) Write(data []byte) (int, error) {
	select {
	case <-e.from.Gone(): // while the client was reading the previous bytes
		_, _, err := e.from.Take()
		return 0, err
	default:
		return e.to.Write(data)
	}
}

// flush sends everything written so far.
func (e *eventWriter) flush() {
	if e.err == nil && e.buffer != nil {
		e.err = e.buffer.Flush()
	}
	e.release()
	if e.err == nil {
		e.err = e.control.Flush()
	}
	for _, span := range e.delivering {
		span.End()
	}
	e.delivering = e.delivering[:0]
	if e.err == nil {
		e.sent.Add(float64(e.events - e.counted))
		e.counted = e.events
	}
}
