package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
)

const (
	// Events are gathered and sent when they are so long.
	streamBuffer = 16 << 10
	// Clients come back after so many milliseconds, as EventSource does.
	streamHello = "retry: 1000\n"
)

// eventWriter writes server-sent events. After an error it writes no more.
type eventWriter struct {
	to       http.ResponseWriter
	control  *http.ResponseController
	filter   orders.Filter
	gone     <-chan struct{} // closed when the client has been given up
	patience time.Duration
	known    *stream.Batch // what the client was told when it came; nil: nothing
	buffer   *bytes.Buffer // nil while there is nothing to send: most clients wait
	events   int
	err      error
}

var eventBuffers = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, 2*streamBuffer)) }}

// batch writes a batch's events. Until the last one is written, the client has
// come no further than the batch's beginning: each event says from where to go
// on after it.
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

func (e *eventWriter) event(id string, event stream.Event) {
	e.events++
	e.text("id: ")
	e.text(id)
	if event.Order == nil {
		e.text("\nevent: delete\ndata: {\"order_uid\":")
		uid, err := json.Marshal(event.UID) // one that came by hand may hold anything
		if err != nil {
			panic(err) // it is a string
		}
		e.bytes(uid)
		e.text("}\n\n")
		return
	}
	e.text("\nevent: upsert\ndata: ")
	e.bytes(event.JSON) // canonical JSON is one line
	e.text("\n\n")
}

func (e *eventWriter) reset(id, reason string) {
	e.events++
	e.text("id: " + id + "\nevent: reset\ndata: {\"reason\":\"" + reason + "\"}\n\n")
}

// id tells the position without an event.
func (e *eventWriter) id(id string) { e.text("id: " + id + "\n\n") }

// heartbeat shows that the connection lives, and how far the client has come
// though nothing happened.
func (e *eventWriter) heartbeat(id string) {
	e.text(": alive\n")
	e.id(id)
}

func (e *eventWriter) text(text string) {
	if e.err == nil {
		e.open().WriteString(text)
		e.spill()
	}
}

func (e *eventWriter) bytes(data []byte) {
	if e.err != nil {
		return
	}
	if len(data) > streamBuffer { // such an order is sent as it lies
		e.write(e.open().Bytes())
		e.buffer.Reset()
		e.write(data)
		return
	}
	e.open().Write(data)
	e.spill()
}

func (e *eventWriter) open() *bytes.Buffer {
	if e.buffer == nil {
		e.buffer = eventBuffers.Get().(*bytes.Buffer)
	}
	return e.buffer
}

// release gives the buffer back.
func (e *eventWriter) release() {
	if e.buffer != nil {
		e.buffer.Reset()
		eventBuffers.Put(e.buffer)
		e.buffer = nil
	}
}

func (e *eventWriter) spill() {
	if e.buffer.Len() >= streamBuffer {
		e.write(e.buffer.Bytes())
		e.buffer.Reset()
	}
}

func (e *eventWriter) write(data []byte) {
	if e.err != nil || len(data) == 0 {
		return
	}
	select {
	case <-e.gone: // while it read what came before
		e.err = stream.ErrSlow
		return
	default:
	}
	_ = e.control.SetWriteDeadline(time.Now().Add(e.patience)) // else the write says so
	_, e.err = e.to.Write(data)
}

// flush sends all that was written.
func (e *eventWriter) flush() {
	if e.err == nil && e.buffer != nil {
		e.write(e.buffer.Bytes())
	}
	e.release()
	if e.err == nil {
		e.err = e.control.Flush()
	}
}
