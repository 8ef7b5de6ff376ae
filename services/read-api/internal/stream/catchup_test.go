package stream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// scripted is a source with one answer.
type scripted func(context.Context, changes.Sink) (changes.Round, error)

func (s scripted) Tail(ctx context.Context, _ changes.Position, sink changes.Sink) (changes.Round, error) {
	return s(ctx, sink)
}

func (scripted) Close() {}

// put gives a sink an order with so many bytes of JSON.
func put(sink changes.Sink, uid string, size int) {
	sink.Put(changes.Order{Order: &model.Order{OrderUID: uid}, Canonical: make([]byte, size)})
}

func TestCatchingUp(t *testing.T) {
	since := func(answer scripted) (batch *Batch, err error) {
		c := NewCatchUp(func() Source { return answer })
		err = c.Since(t.Context(), at(5), func(b *Batch) { batch = b })
		return batch, err
	}
	batch, err := since(func(_ context.Context, sink changes.Sink) (changes.Round, error) {
		sink.Delete("a")
		put(sink, "b", 0)
		return changes.Round{Position: at(8)}, nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, uids(batch, orders.Filter{}))
	require.True(t, batch.Covers(&Batch{to: at(7)}))
	require.False(t, batch.Covers(&Batch{to: at(9)}))
	require.False(t, batch.Covers(&Batch{to: at(7), Reset: tooFar}))
	require.True(t, batch.Reaches(at(8)))
	require.False(t, batch.Reaches(at(9)))

	batch, err = since(func(context.Context, changes.Sink) (changes.Round, error) {
		return changes.Round{}, &changes.RelistError{Reason: "secret"}
	})
	require.NoError(t, err)
	require.Equal(t, tooFar, batch.Reset)

	batch, err = since(func(ctx context.Context, sink changes.Sink) (changes.Round, error) {
		for ctx.Err() == nil {
			put(sink, "uid", maxBatchBytes)
		}
		return changes.Round{}, ctx.Err()
	})
	require.NoError(t, err)
	require.Equal(t, tooMany, batch.Reset)

	away := errors.New("away")
	_, err = since(func(context.Context, changes.Sink) (changes.Round, error) { return changes.Round{}, away })
	require.ErrorIs(t, err, away)
}

// users is how many wait for the changes since a position.
func (c *CatchUp) users(from changes.Position) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.waiting[from.Token()]; t != nil {
		return t.users
	}
	return 0
}

// TestListenersOfOnePositionShareAReading has many come back at once, as after a
// restart, before it is anybody's turn.
func TestListenersOfOnePositionShareAReading(t *testing.T) {
	const listeners = 500
	var reads atomic.Int64
	c := NewCatchUp(func() Source {
		return scripted(func(_ context.Context, sink changes.Sink) (changes.Round, error) {
			reads.Add(1)
			put(sink, "a", 0)
			return changes.Round{Position: at(8)}, nil
		})
	})
	for range CatchUps {
		c.slots <- struct{}{}
	}
	var all sync.WaitGroup
	var told atomic.Int64
	for range listeners {
		all.Go(func() {
			err := c.Since(t.Context(), at(5), func(b *Batch) { told.Add(int64(len(b.Events))) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	require.Eventually(t, func() bool { return c.users(at(5)) == listeners }, patience, tick)
	<-c.slots
	all.Wait()
	require.EqualValues(t, listeners, told.Load())
	require.EqualValues(t, 1, reads.Load())
	require.Empty(t, c.waiting)
	require.Zero(t, c.inHand)
}

// TestALeaderThatLeavesIsReplaced ends the call that was to read for another.
func TestALeaderThatLeavesIsReplaced(t *testing.T) {
	c := NewCatchUp(func() Source {
		return scripted(func(context.Context, changes.Sink) (changes.Round, error) {
			return changes.Round{Position: at(8)}, nil
		})
	})
	for range CatchUps { // nobody's turn comes
		c.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var led, followed error
	var both sync.WaitGroup
	both.Go(func() { led = c.Since(ctx, at(5), func(*Batch) {}) })
	joined := func(users int) bool { return c.users(at(5)) == users }
	require.Eventually(t, func() bool { return joined(1) }, patience, tick)
	both.Go(func() { followed = c.Since(t.Context(), at(5), func(*Batch) {}) })
	require.Eventually(t, func() bool { return joined(2) }, patience, tick)
	cancel()
	require.Eventually(t, func() bool { return joined(1) }, patience, tick, "the other leads now")
	<-c.slots
	both.Wait()
	require.ErrorIs(t, led, context.Canceled)
	require.NoError(t, followed)
}

// TestWhatCatchesUpTakesBoundedMemory keeps large batches in hand: others with
// large ones start anew, and those with small ones don't notice.
func TestWhatCatchesUpTakesBoundedMemory(t *testing.T) {
	size := 0
	c := NewCatchUp(func() Source {
		return scripted(func(_ context.Context, sink changes.Sink) (changes.Round, error) {
			put(sink, "a", size)
			return changes.Round{Position: at(8)}, nil
		})
	})
	hold := func(from uint64, then func()) {
		require.NoError(t, c.Since(t.Context(), at(from), func(b *Batch) {
			require.Empty(t, b.Reset)
			then()
		}))
	}
	size = maxBatchBytes - 1000
	hold(1, func() {
		hold(2, func() {
			hold(3, func() {
				hold(4, func() {
					require.NoError(t, c.Since(t.Context(), at(5), func(b *Batch) { require.Equal(t, tooMany, b.Reset) }))
					size = 1000
					hold(6, func() {})
				})
			})
		})
	})
	require.Zero(t, c.inHand)
	size = maxBatchBytes - 1000
	hold(7, func() {})
}
