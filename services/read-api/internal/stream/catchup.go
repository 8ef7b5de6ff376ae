package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

const (
	// CatchUps is how many reads run at a time. Each uses a connection and up to
	// maxBatchBytes.
	CatchUps = 4
	// catchUpTimeout bounds a listener's wait for its turn and for the answer.
	catchUpTimeout = 10 * time.Second
	// maxCaughtUp limits the bytes of changes that all listeners hold while they catch
	// up. Beyond it a listener gets a reset, so that slow ones do not make others wait.
	maxCaughtUp = 64 << 20
	// smallCatchUp is the size up to which changes do not count towards maxCaughtUp.
	smallCatchUp = 64 << 10
)

// Source reads changes; a *changes.Source is one.
type Source interface {
	Tail(context.Context, changes.Position, changes.Sink) (changes.Round, error)
	Close()
}

// CatchUp reads what has changed since a position from another replica, or from before
// this one was restarted. Listeners at the same position, as most are after a restart,
// share one read. Methods are safe for concurrent use.
type CatchUp struct {
	open  func() Source
	slots chan struct{}

	mu      sync.Mutex
	waiting map[string]*turn // by the position's token; none has begun to read
	inHand  int              // bytes of the batches in use
}

// turn is one read, for one or more listeners.
type turn struct {
	cancel context.CancelFunc
	users  int           // under CatchUp's lock; when the last one leaves, the read is cancelled
	done   chan struct{} // closed when batch or err is set
	batch  *Batch
	err    error
}

// NewCatchUp reads through sources that open makes, which connect when used.
func NewCatchUp(open func() Source) *CatchUp {
	return &CatchUp{open: open, slots: make(chan struct{}, CatchUps), waiting: map[string]*turn{}}
}

// Since calls use with the changes between a position and some moment after the call.
// The batch has a Reset if the changes are no longer known. An error means that the
// database is unavailable, or that too many listeners wait.
func (c *CatchUp) Since(ctx context.Context, from changes.Position, use func(*Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	token := from.Token()
	t := c.join(token, from)
	defer c.leave(token, t)
	select {
	case <-t.done:
	case <-ctx.Done():
		return fmt.Errorf("read the changes since a position: %w", ctx.Err())
	}
	if t.err != nil {
		return t.err
	}
	use(t.batch)
	return nil
}

// join returns the turn that has not begun to read from a position yet, or a new one.
func (c *CatchUp) join(token string, from changes.Position) *turn {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.waiting[token]
	if t == nil {
		ctx, cancel := context.WithCancel(context.Background())
		t = &turn{cancel: cancel, done: make(chan struct{})}
		c.waiting[token] = t
		go c.run(ctx, token, t, from)
	}
	t.users++
	return t
}

func (c *CatchUp) leave(token string, t *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.users--; t.users > 0 {
		return
	}
	t.cancel()
	c.close(token, t)
	if t.batch != nil {
		c.inHand -= t.batch.size
	}
}

// close ends the time in which listeners may join a turn. The caller holds the lock.
func (c *CatchUp) close(token string, t *turn) {
	if c.waiting[token] == t {
		delete(c.waiting, token)
	}
}

// run reads for all listeners that join before it begins. Later ones need another turn,
// since what is read may be older than their call.
func (c *CatchUp) run(ctx context.Context, token string, t *turn, from changes.Position) {
	defer close(t.done)
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return // all listeners have left
	}
	c.mu.Lock()
	c.close(token, t)
	c.mu.Unlock()
	batch, err := c.read(ctx, from)

	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		t.err = err
	case t.users == 0:
	case batch.size > smallCatchUp && c.inHand+batch.size > maxCaughtUp:
		t.batch = &Batch{Reset: tooMany}
	default:
		c.inHand += batch.size
		t.batch = batch
	}
}

func (c *CatchUp) read(ctx context.Context, from changes.Position) (*Batch, error) {
	source := c.open()
	defer source.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := &collector{full: cancel}
	round, err := source.Tail(ctx, from, found)
	var relist *changes.RelistError
	switch {
	case found.overflow:
		return &Batch{Reset: tooMany}, nil
	case errors.As(err, &relist):
		return &Batch{Reset: tooFar}, nil
	case err != nil:
		return nil, err
	}
	return found.batch(from, round.Position), nil
}

// Covers tells whether this batch has everything that another one has.
func (b *Batch) Covers(later *Batch) bool {
	return b.Reset == "" && later.Reset == "" && b.to.Covers(later.to)
}

// Reaches tells whether the changes go up to a position, so that those after it
// follow without a gap.
func (b *Batch) Reaches(start changes.Position) bool { return b.to.Reaches(start) }
