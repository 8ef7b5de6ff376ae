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
	filter, last, ok := a.streamQuery(c)
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
		to: c.Writer, control: http.NewResponseController(c.Writer), filter: filter, from: listener, sent: a.events,
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
	if err := a.beginStream(c, listener, e, last); err != nil {
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
	}
	return "client" // it has gone, or its connection was lost
}

// streamHead answers HEAD with the headers of GET.
func (a *api) streamHead(c *gin.Context) {
	if _, _, ok := a.streamQuery(c); ok {
		streamHeader(c)
	}
}

// lastEventID is the parameter with the id of the client's last event. The programs that
// stand in for EventSource send it, where they cannot set a header.
const lastEventID = "lastEventId"

// streamQuery reads the filter and the id of the client's last event, or answers with an
// error. The header goes before the parameter: a client that reconnects by itself sends
// the address that it was given at first.
func (a *api) streamQuery(c *gin.Context) (filter orders.Filter, last string, ok bool) {
	q := a.readFilter(c, lastEventID)
	if filter = q.filter(); q.refused != nil {
		a.problem(c, q.refused)
	}
	return filter, cmp.Or(c.GetHeader("Last-Event-ID"), q.values[lastEventID]), q.refused == nil
}

func streamHeader(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy that buffers would delay the events
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	c.Status(http.StatusOK)
}

// beginStream writes the headers and the changes since the client's last event. It
// writes nothing if it returns an error.
func (a *api) beginStream(c *gin.Context, listener *stream.Listener, e *eventWriter, last string) error {
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
	if last == "" {
		begin()
		e.id(start.Token())
		e.flush()
		return nil
	}
	from, err := changes.ParseToken(last)
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

// follow writes all further changes, and returns why it ended.
func (a *api) follow(c *gin.Context, listener *stream.Listener, e *eventWriter) error {
	var ended <-chan struct{}
	if caller := a.Access.Caller(c); caller != nil {
		ended = caller.Ended()
	}
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
