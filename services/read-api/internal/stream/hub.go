package stream

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// maxQueued is how many bytes, and maxBatches how many batches, a listener may
// be behind before it is dropped, the batch in its hands included. Batches are
// shared by listeners, so all slow ones keep no more than this alive between
// them.
const (
	maxQueued  = 32 << 20
	maxBatches = 4096
	// A queue that was longer is given back when it is empty.
	keptQueue = 16
)

// Why a listener isn't let in, or has to go.
var (
	ErrFull     = errors.New("there are as many listeners as are allowed")
	ErrNotReady = errors.New("the cache isn't filled yet")
	ErrClosed   = errors.New("the service is stopping")
	ErrSlow     = errors.New("the listener didn't keep up")
)

// Cache is what a Hub subscribes to; a *cache.Cache is one.
type Cache interface {
	Subscribe(cache.Subscriber)
	Refresh()
}

// Hub gives listeners each round's changes. The methods of cache.Subscriber are the
// cache's to call; the others are safe for concurrent use.
type Hub struct {
	limit int
	cache Cache

	collecting *collector       // of the round that began last; nil: nobody listens
	all        bool             // it keeps what the cache had already, too
	from       changes.Position // at which it began
	failed     bool             // the last round that began wasn't applied

	mu        sync.Mutex
	ready     bool
	closed    bool
	missing   bool               // a round began, and was not applied, whose changes nobody collects
	position  changes.Position   // what was applied last
	at        string             // its token
	listeners map[*Listener]bool // true: it gets what is applied; false: after the round that is missing
	dropped   int64
	refused   atomic.Int64
}

// NewHub returns a hub for up to limit listeners at a time, which subscribes to the
// cache.
func NewHub(c Cache, limit int) *Hub {
	h := &Hub{cache: c, limit: limit, listeners: map[*Listener]bool{}}
	c.Subscribe(h)
	return h
}

// Begin implements cache.Subscriber.
func (h *Hub) Begin(from changes.Position, relist bool) {
	h.mu.Lock()
	h.activate(from)
	listened := len(h.listeners) > 0
	// A relist takes long: who comes meanwhile is told at its end that changes are unknown.
	h.missing = !listened && !relist
	h.mu.Unlock()

	// A round after one that failed brings changes that the cache has already. A
	// standby brings some again and again, and a relist all orders.
	h.all = !relist && (h.failed || !from.Standby)
	h.failed = true
	h.from, h.collecting = from, nil
	if listened {
		h.collecting = &collector{}
	}
}

// Put implements cache.Subscriber.
func (h *Hub) Put(o changes.Order, changed bool) {
	if h.collecting != nil && (changed || h.all) {
		h.collecting.Put(o)
	}
}

// Delete implements cache.Subscriber.
func (h *Hub) Delete(uid string, changed bool) {
	if h.collecting != nil && (changed || h.all) {
		h.collecting.Delete(uid)
	}
}

// Applied implements cache.Subscriber.
func (h *Hub) Applied(to changes.Position) {
	h.failed = false
	var batch *Batch
	if c := h.collecting; c != nil && (len(c.events) > 0 || c.overflow) {
		batch = c.batch(h.from, to)
	}
	h.collecting = nil
	h.publish(to, batch)
}

// Relisted implements cache.Subscriber.
func (h *Hub) Relisted(to changes.Position, known bool) {
	if known && h.collecting != nil {
		h.Applied(to)
		return
	}
	h.failed, h.collecting = false, nil
	token := to.Token()
	h.publish(to, &Batch{From: token, To: token, Reset: tooFar, to: to})
}

func (h *Hub) publish(at changes.Position, batch *Batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready, h.missing = true, false
	h.position, h.at = at, at.Token()
	for l, active := range h.listeners {
		if active && batch != nil {
			h.give(l, batch)
		}
	}
	h.activate(at)
}

// activate gives listeners that wait all changes from a position on. The caller
// holds the lock.
func (h *Hub) activate(from changes.Position) {
	for l, active := range h.listeners {
		if !active {
			h.listeners[l] = true
			l.start = from
			close(l.joined)
		}
	}
}

// give queues a batch, or ends a listener that is too far behind. The caller
// holds the lock.
func (h *Hub) give(l *Listener, batch *Batch) {
	l.queue = append(l.queue, batch)
	l.queued += batch.size
	if l.queued > maxQueued || len(l.queue) > maxBatches {
		h.dropped++
		h.remove(l, ErrSlow)
		return
	}
	l.wake()
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
	queued int // bytes, of the batch in hand too
	inHand int
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
		h.refused.Add(1)
		return nil, ErrFull
	}
	l := &Listener{hub: h, joined: make(chan struct{}), gone: make(chan struct{}), bell: make(chan struct{}, 1)}
	h.listeners[l] = false
	if h.missing {
		h.cache.Refresh()
	} else {
		h.activate(h.position)
	}
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

// Start returns the position from which on the listener gets the changes. It
// waits where a round is under way that began while nobody listened.
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

// Bell signals that Take may return a batch.
func (l *Listener) Bell() <-chan struct{} { return l.bell }

// Gone is closed when the listener has ended: what it has in hand is not worth
// going on with either.
func (l *Listener) Gone() <-chan struct{} { return l.gone }

// Skip drops what is queued. It returns the position that the listener has reached, and why
// the changes up to there are unknown, "" if they are known.
func (l *Listener) Skip() (reached changes.Position, reset string, err error) {
	for {
		batch, _, err := l.Take()
		if batch == nil {
			l.hub.mu.Lock()
			defer l.hub.mu.Unlock()
			return l.hub.position, reset, err
		}
		reset = cmp.Or(reset, batch.Reset)
	}
}

// Take returns the next batch, and the one before must not be used any more. It
// returns nil where there is none, and then the token of the position that the
// listener has reached. An error says why there will be no more.
func (l *Listener) Take() (batch *Batch, at string, err error) {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.ended != nil {
		return nil, "", l.ended
	}
	l.queued -= l.inHand
	l.inHand = 0
	if len(l.queue) == 0 {
		if cap(l.queue) > keptQueue {
			l.queue = nil
		}
		return nil, l.hub.at, nil
	}
	batch = l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	l.inHand = batch.size
	return batch, "", nil
}
