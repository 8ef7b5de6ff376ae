package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
)

// Streams is the source of change events.
type Streams struct {
	Hub     *stream.Hub
	CatchUp *stream.CatchUp
	// Heartbeat is the longest silence of a stream. Default: 15 s.
	Heartbeat time.Duration
}

const (
	defaultHeartbeat = 15 * time.Second
	// streamStart bounds the wait for the cache's next round.
	streamStart = 5 * time.Second
)

// stream sends server-sent events until the client disconnects or is too slow, or the
// service stops.
func (a *api) stream(c *gin.Context) {
	request, ok := a.streamQuery(c)
	if !ok {
		return
	}
	listener, err := a.Streams.Hub.Join()
	switch {
	case errors.Is(err, stream.ErrFull):
		a.problem(c, tooManyStreams.New("This replica has as many open streams as it allows. Try again in a moment."))
		return
	case err != nil:
		a.unavailable(c, errors.Join(orders.ErrUnavailable, err))
		return
	}
	defer listener.Leave()
	if !a.Access.Looked(c, access.Follow) {
		return
	}
	e := &eventWriter{
		to: c.Writer, control: http.NewResponseController(c.Writer), filter: request.filter, from: listener, sent: a.events,
		masked: !a.Access.Personal(c),
	}
	if a.Traces != nil && tracing.Recording(c.Request.Context()) {
		e.deliver = func(uid string) trace.Span { return a.deliver(c.Request.Context(), uid) }
	}
	if a.Access.On() && !e.masked {
		e.shown = func(uids []string) error { return a.Access.Shown(c, uids) }
	}
	defer func() {
		e.release()
		a.Access.Unfollowed(c, e.events)
	}()
	// The server's time-outs are for requests that end. An error means that the
	// connection is closed; the first write reports it.
	_ = e.control.SetReadDeadline(time.Time{})
	if err := a.beginStream(c, listener, e, request); err != nil {
		a.unavailable(c, errors.Join(orders.ErrUnavailable, err))
		return
	}
	err = a.follow(c, listener, e)
	a.ended.WithLabelValues(reasonOf(err)).Inc()
	web.Log(c, a.Log).Debug("stream ended", zap.Error(err))
}

var errCredential = errors.New("the credential has expired or was revoked")

// reasonOf names why a stream has ended, for orderhub_stream_ended_total.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, stream.ErrSlow):
		return "slow"
	case errors.Is(err, stream.ErrClosed):
		return "stop"
	case errors.Is(err, errCredential):
		return "credential"
	case errors.Is(err, orders.ErrUnavailable):
		return "unavailable"
	}
	return "client" // it has gone, or its connection was lost
}

// streamHead answers HEAD with the headers of GET.
func (a *api) streamHead(c *gin.Context) {
	if _, ok := a.streamQuery(c); ok {
		streamHeader(c)
	}
}

// lastEventID is the parameter with the id of the client's last event. The programs that
// stand in for EventSource send it, where they cannot set a header.
const lastEventID = "lastEventId"

// streamRequest is what a stream was asked for.
type streamRequest struct {
	filter   orders.Filter
	last     string // the id of the client's last event, "" without one
	snapshot bool   // where there is none, it begins with the orders that match
}

// streamQuery reads a request, or answers it with an error. The header goes before the parameter: a client that reconnects by itself sends
// the address that it was given at first.
func (a *api) streamQuery(c *gin.Context) (r streamRequest, ok bool) {
	q := a.readFilter(c, lastEventID, "snapshot")
	r.filter, r.last = q.filter(), cmp.Or(c.GetHeader("Last-Event-ID"), q.values[lastEventID])
	snapshot := ""
	read(q, "snapshot", &snapshot, either("true", "false"))
	r.snapshot = snapshot == "true"
	if q.refused != nil {
		a.problem(c, q.refused)
	}
	return r, q.refused == nil
}

func streamHeader(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy that buffers would delay the events
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	c.Status(http.StatusOK)
}

// beginStream writes the headers, and the snapshot or the changes since the client's last
// event. It writes nothing if it returns an error.
func (a *api) beginStream(c *gin.Context, listener *stream.Listener, e *eventWriter, request streamRequest) error {
	ctx, cancel := context.WithTimeout(c.Request.Context(), streamStart)
	defer cancel()
	start, err := listener.Start(ctx)
	if err != nil {
		return err
	}
	begin := func() {
		streamHeader(c)
		e.text(streamHello)
	}
	if request.last == "" && request.snapshot {
		return a.beginSnapshot(c, listener, e, start, begin)
	}
	if request.last == "" {
		begin()
		e.id(start.Token())
		e.flush()
		return nil
	}
	from, err := changes.ParseToken(request.last)
	if err != nil { // perhaps of another version
		begin()
		e.reset(start.Token(), "this Last-Event-ID cannot be read")
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

// beginSnapshot writes the headers, the orders that match, and what has changed since start:
// the orders as of one moment. It writes nothing if it returns an error.
func (a *api) beginSnapshot(c *gin.Context, listener *stream.Listener, e *eventWriter, start changes.Position, begin func()) error {
	ctx, ended := c.Request.Context(), a.credentialEnded(c)
	reached, reset := start, ""
	var after *orders.Key
	for first := true; first || after != nil && e.err == nil && reset == ""; first = false {
		// The snapshot has to have all up to its start. Lists in memory have it: they get a
		// round's changes before streams do.
		page, err := a.nextPage(ctx, e.filter, after)
		switch {
		case err != nil && first:
			return err
		case first:
			begin()
		}
		select {
		case <-ended:
			e.end(errCredential.Error())
			err = errCredential
		default:
		}
		e.err = cmp.Or(e.err, err)
		e.page(page)
		e.flush()
		after = page.Next
		// What was queued is among the changes since start that are read below. An order's
		// state in it may be older than in the page.
		reached, reset, err = listener.Skip()
		e.err = cmp.Or(e.err, err)
	}
	switch {
	case e.err != nil: // follow returns it
	case reset != "":
		e.reset(reached.Token(), reset)
		e.flush()
	default:
		err := a.Streams.CatchUp.Since(ctx, start, func(missed *stream.Batch) {
			switch {
			case missed.Reset != "":
				e.reset(reached.Token(), missed.Reset)
			case !missed.Reaches(reached):
				e.reset(reached.Token(), "the snapshot is of another database")
			default:
				e.snapshotEnd(missed)
				e.known = missed
			}
			e.flush()
		})
		if err != nil {
			e.err = cmp.Or(ctx.Err(), errors.Join(orders.ErrUnavailable, err))
		}
	}
	return nil //nolint:nilerr // follow returns e.err
}

// credentialEnded is closed when the caller's credential has expired or was revoked.
func (a *api) credentialEnded(c *gin.Context) <-chan struct{} {
	if caller := a.Access.Caller(c); caller != nil {
		return caller.Ended()
	}
	return nil
}

// follow writes all further changes, and returns why it ended.
func (a *api) follow(c *gin.Context, listener *stream.Listener, e *eventWriter) error {
	ended := a.credentialEnded(c)
	interval := cmp.Or(a.Streams.Heartbeat, defaultHeartbeat)
	heartbeat := time.NewTimer(interval)
	defer heartbeat.Stop()
	for e.err == nil {
		beat := false
		select {
		case <-c.Request.Context().Done():
			return c.Request.Context().Err()
		case <-ended:
			e.end(errCredential.Error())
			return errCredential
		case <-listener.Bell():
		case <-heartbeat.C:
			beat = true
		}
		wrote := e.events
		at, err := e.take(listener)
		if err != nil {
			return err
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

// take writes the batches that are queued, and returns the position reached.
func (e *eventWriter) take(listener *stream.Listener) (at string, err error) {
	for e.err == nil {
		batch, at, err := listener.Take()
		if batch == nil {
			return at, err
		}
		e.batch(batch)
	}
	return "", e.err
}
