package stream

import (
	"context"
	"errors"
	"sync"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// maxQueued is how many bytes, and maxBatches how many batches, a listener may
// be behind before it is dropped. Batches are shared by listeners, so slow ones
// keep no more than this alive between them.
const (
	maxQueued  = 32 << 20
	maxBatches = 4096
)

// Why a listener isn't let in, or has to go.
var (
	ErrFull     = errors.New("there are as many listeners as are allowed")
	ErrNotReady = errors.New("the cache isn't filled yet")
	ErrClosed   = errors.New("the service is stopping")
	ErrSlow     = errors.New("the listener didn't keep up")
)

// Hub follows the cache's loop, and gives listeners each round's changes. The
// methods of cache.Follower belong to that loop; the others are safe for
// concurrent use.
type Hub struct {
	limit int
	ring  func()

	collecting *collector       // of the round that began last; nil: nobody listens
	from       changes.Position // at which it began
	failed     bool             // the last round that began wasn't applied

	mu        sync.Mutex
	ready     bool
	closed    bool
	at        string             // the token of what was applied last
	listeners map[*Listener]bool // true: it gets what is applied; false: from the next round on
	dropped   int64
}

// NewHub returns a hub for up to limit listeners at a time.
func NewHub(limit int) *Hub {
	return &Hub{limit: limit, ring: func() {}, listeners: map[*Listener]bool{}}
}

// WakeWith says how the cache's loop is woken for a listener that waits for its
// next round. It is called before anything else.
func (h *Hub) WakeWith(ring func()) { h.ring = ring }

// Begin implements cache.Follower.
func (h *Hub) Begin(from changes.Position, sink changes.Sink) changes.Sink {
	h.mu.Lock()
	for l, active := range h.listeners {
		if !active {
			h.listeners[l] = true
			l.start = from
			close(l.joined)
		}
	}
	listened := len(h.listeners) > 0
	h.mu.Unlock()

	retry := h.failed
	h.failed = true
	h.from, h.collecting = from, nil
	if !listened {
		return sink
	}
	// A round after one that failed finds changes that the sink has already. A
	// standby gives some again and again.
	h.collecting = &collector{Sink: sink, all: retry || !from.Standby}
	return h.collecting
}

// Applied implements cache.Follower.
func (h *Hub) Applied(to changes.Position) {
	h.failed = false
	var batch *Batch
	if c := h.collecting; c != nil && (len(c.events) > 0 || c.overflow) {
		batch = c.batch(h.from, to)
	}
	h.collecting = nil
	h.publish(to, batch)
}

// Relisted implements cache.Follower.
func (h *Hub) Relisted(to changes.Position) {
	h.failed, h.collecting = false, nil
	token := to.Token()
	h.publish(to, &Batch{From: token, To: token, Reset: tooFar, to: to})
}

func (h *Hub) publish(at changes.Position, batch *Batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready, h.at = true, at.Token()
	if batch == nil {
		return
	}
	for l, active := range h.listeners {
		if !active {
			continue
		}
		l.queue = append(l.queue, batch)
		l.queued += batch.size
		if l.queued > maxQueued || len(l.queue) > maxBatches {
			h.dropped++
			h.remove(l, ErrSlow)
			continue
		}
		l.wake()
	}
}

// remove ends a listener. The caller holds the lock.
func (h *Hub) remove(l *Listener, why error) {
	if _, there := h.listeners[l]; !there {
		return
	}
	delete(h.listeners, l)
	l.ended, l.queue = why, nil
	close(l.gone)
	l.wake()
}

// Close ends all listeners, and lets no more in.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for l := range h.listeners {
		h.remove(l, ErrClosed)
	}
}

// Figures are how many listeners there are, and how many were dropped because
// they were slow.
func (h *Hub) Figures() (listeners int, dropped int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners), h.dropped
}

// Listener gets the changes from its start on. It belongs to one goroutine.
type Listener struct {
	hub    *Hub
	joined chan struct{} // closed when start is known
	gone   chan struct{} // closed when it has ended
	start  changes.Position
	bell   chan struct{}

	// Under the hub's lock:
	queue  []*Batch
	queued int
	ended  error
}

// Join lets a listener in, which has to Leave. An error is ErrFull, ErrNotReady
// or ErrClosed.
func (h *Hub) Join() (*Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case !h.ready:
		return nil, ErrNotReady
	case len(h.listeners) >= h.limit:
		return nil, ErrFull
	}
	l := &Listener{hub: h, joined: make(chan struct{}), gone: make(chan struct{}), bell: make(chan struct{}, 1)}
	h.listeners[l] = false
	h.ring()
	return l, nil
}

func (l *Listener) wake() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// Leave ends the listener.
func (l *Listener) Leave() {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.hub.remove(l, ErrClosed)
}

// Start waits until the listener gets the changes, and returns the position
// from which on it does.
func (l *Listener) Start(ctx context.Context) (changes.Position, error) {
	select {
	case <-l.joined:
		return l.start, nil
	case <-ctx.Done():
		return changes.Position{}, ctx.Err()
	case <-l.gone:
		_, _, err := l.Take()
		return changes.Position{}, err
	}
}

// Bell is rung when Take is worth a call.
func (l *Listener) Bell() <-chan struct{} { return l.bell }

// Take returns what has arrived, and the token of the position that the
// listener has reached with it. An error says why there will be no more.
func (l *Listener) Take() (batches []*Batch, at string, err error) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.ended != nil {
		return nil, "", l.ended
	}
	batches, l.queue, l.queued = l.queue, nil, 0
	return batches, l.hub.at, nil
}
