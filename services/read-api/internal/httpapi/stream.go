package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
)

// Streams is where the events of changes come from.
type Streams struct {
	Hub     *stream.Hub
	CatchUp *stream.CatchUp
	// Heartbeat is how long a stream is silent at most; 0 means 15 s.
	Heartbeat time.Duration
}

const (
	defaultHeartbeat = 15 * time.Second
	// streamStart is how long a client waits for the cache's next round.
	streamStart = 5 * time.Second
	// streamWrite is how long a client may take to read what it is sent.
	streamWrite = 10 * time.Second
	// A client's buffer is written when it is so long.
	streamBuffer = 64 << 10
	// Clients come back after so many milliseconds, as EventSource does.
	streamHello = "retry: 1000\n"
)

// stream answers with server-sent events until the client goes, or is too slow,
// or the service stops.
func (a *api) stream(c *gin.Context) {
	values, refused := parseQuery(c.Request.URL.RawQuery, filterNames)
	var filter orders.Filter
	if refused == nil {
		filter, refused = parseFilter(values)
	}
	if refused != nil {
		a.problem(c, refused.kind, refused.detail)
		return
	}
	listener, err := a.Streams.Hub.Join()
	switch {
	case errors.Is(err, stream.ErrFull):
		a.problem(c, problemStreamsFull, "This replica has as many streams open as it is allowed to. Try again in a moment.")
		return
	case err != nil:
		a.unavailable(c, errors.Join(orders.ErrUnavailable, err))
		return
	}
	defer listener.Leave()
	e := &eventWriter{to: c.Writer, control: http.NewResponseController(c.Writer), filter: filter}
	// The server's time-outs are for requests that end. These fail only where the
	// connection has gone, which the first write finds out.
	_ = e.control.SetReadDeadline(time.Time{})
	if err := a.beginStream(c, listener, e); err != nil {
		a.unavailable(c, errors.Join(orders.ErrUnavailable, err))
		return
	}
	if err := a.follow(c.Request.Context(), listener, e); err != nil {
		a.Log.Debug("a stream ended", zap.Error(err))
	}
}

// beginStream writes the header, and what happened since the client's last
// event. Nothing is written where it returns an error.
func (a *api) beginStream(c *gin.Context, listener *stream.Listener, e *eventWriter) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), streamStart)
	defer cancel()
	start, err := listener.Start(ctx)
	if err != nil {
		return err
	}
	begin := func() {
		h := c.Writer.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no") // a proxy that gathers events would hold them up
		h["Cache-Control"] = noStore
		h["X-Content-Type-Options"] = nosniff
		c.Writer.WriteHeader(http.StatusOK)
		e.text(streamHello)
	}
	last := c.GetHeader("Last-Event-ID")
	if last == "" {
		begin()
		e.id(start.Token())
		e.flush()
		return nil
	}
	from, err := changes.ParseToken(last)
	if err != nil { // perhaps another version's
		begin()
		e.reset(start.Token(), "this Last-Event-ID says nothing to this service")
		e.flush()
		return nil
	}
	return a.Streams.CatchUp.Since(c.Request.Context(), from, func(missed *stream.Batch) {
		begin()
		switch {
		case missed.Reset != "":
			e.reset(start.Token(), missed.Reset)
		case !missed.Reaches(start):
			e.reset(start.Token(), "this Last-Event-ID is of another database")
		default:
			e.batch(missed)
			e.id(missed.To)
			e.known = missed
		}
		e.flush()
	})
}

// follow writes what happens from now on, and returns why it ended.
func (a *api) follow(ctx context.Context, listener *stream.Listener, e *eventWriter) error {
	interval := a.Streams.Heartbeat
	if interval == 0 {
		interval = defaultHeartbeat
	}
	heartbeat := time.NewTimer(interval)
	defer heartbeat.Stop()
	for e.err == nil {
		beat := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-listener.Bell():
		case <-heartbeat.C:
			beat = true
		}
		batches, at, err := listener.Take()
		if err != nil {
			return err
		}
		wrote := e.events
		for _, batch := range batches {
			e.batch(batch)
		}
		if beat && e.events == wrote {
			e.heartbeat(at)
		}
		if beat || e.events != wrote {
			e.flush()
			heartbeat.Reset(interval)
		}
	}
	return e.err
}

// eventWriter writes server-sent events. After an error it writes no more.
type eventWriter struct {
	to      http.ResponseWriter
	control *http.ResponseController
	filter  orders.Filter
	known   *stream.Batch // what the client was told when it came; nil: nothing
	buffer  bytes.Buffer
	events  int
	err     error
}

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
	var waiting *stream.Event
	b.Matching(e.filter, func(event stream.Event) {
		if waiting != nil {
			e.event(b.From, *waiting)
		}
		waiting = &event
	})
	if waiting != nil {
		e.event(b.To, *waiting)
	}
}

func (e *eventWriter) event(id string, event stream.Event) {
	e.events++
	e.text("id: " + id)
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
	e.bytes(event.Order) // canonical JSON is one line
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
		e.buffer.WriteString(text)
		e.spill()
	}
}

func (e *eventWriter) bytes(data []byte) {
	if e.err == nil {
		e.buffer.Write(data)
		e.spill()
	}
}

func (e *eventWriter) spill() {
	if e.buffer.Len() >= streamBuffer {
		e.write()
	}
}

func (e *eventWriter) write() {
	_ = e.control.SetWriteDeadline(time.Now().Add(streamWrite)) // else the write says so
	_, e.err = e.to.Write(e.buffer.Bytes())
	e.buffer.Reset()
}

// flush sends all that was written.
func (e *eventWriter) flush() {
	if e.err != nil {
		return
	}
	if e.write(); e.err == nil {
		e.err = e.control.Flush()
	}
}
