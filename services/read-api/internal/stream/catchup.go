package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

const (
	// catchUps is how many listeners are caught up at a time: each takes a
	// connection, and up to maxBatchBytes.
	catchUps       = 4
	catchUpTimeout = 10 * time.Second
)

// Source reads changes; a *changes.Source is one.
type Source interface {
	Tail(context.Context, changes.Position, changes.Sink) (changes.Round, error)
	Close()
}

// CatchUp reads what has changed since a position that was given out before: by
// another replica, or by this one before it was restarted. Methods are safe for
// concurrent use.
type CatchUp struct {
	open  func() Source
	slots chan struct{}
}

// NewCatchUp reads through sources that open makes, which connect when used.
func NewCatchUp(open func() Source) *CatchUp {
	return &CatchUp{open: open, slots: make(chan struct{}, catchUps)}
}

// Since calls use with the changes between a position and now; they have a Reset
// where they can't be told. The memory that they take is bounded by use being
// quick. An error of Since's own means that the database can't be asked now, or
// that too many ask.
func (c *CatchUp) Since(ctx context.Context, from changes.Position, use func(*Batch)) error {
	waiting, stop := context.WithTimeout(ctx, catchUpTimeout)
	defer stop()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-waiting.Done():
		return fmt.Errorf("wait for a turn to read changes: %w", waiting.Err())
	}
	batch, err := c.read(ctx, from)
	if err != nil {
		return err
	}
	use(batch)
	return nil
}

func (c *CatchUp) read(ctx context.Context, from changes.Position) (*Batch, error) {
	source := c.open()
	defer source.Close()
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	found := &collector{all: true, full: cancel}
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

// Covers tells whether a later batch has nothing that this one doesn't have.
func (b *Batch) Covers(later *Batch) bool {
	return b.Reset == "" && later.Reset == "" && b.to.Covers(later.to)
}

// Reaches tells whether the changes go up to a position, so that those after it
// follow without a gap.
func (b *Batch) Reaches(start changes.Position) bool { return b.to.Covers(start) }
