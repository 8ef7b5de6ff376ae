package orders

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// tables are what a ReadThrough reads in a test. They answer when they are let.
type tables struct {
	let chan struct{}

	mu      sync.Mutex
	batches [][]string // begun so far
}

func (d *tables) read(ctx context.Context, uids []string) (map[string]*cache.Record, error) {
	d.mu.Lock()
	d.batches = append(d.batches, slices.Sorted(slices.Values(uids)))
	d.mu.Unlock()
	select {
	case <-d.let:
	case <-ctx.Done():
		return nil, errors.Join(ErrUnavailable, ctx.Err())
	}
	found := map[string]*cache.Record{}
	for _, uid := range uids {
		if !strings.HasPrefix(uid, "no") {
			record := cache.NewRecord(uid, []byte(uid))
			found[uid] = &record
		}
	}
	return found, nil
}

func (d *tables) begun() [][]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.batches)
}

// throughTables is a ReadThrough over such tables. It is made in a bubble of
// goroutines, which has a clock of its own.
func throughTables(t *testing.T) (*tables, *ReadThrough) {
	t.Helper()
	d := &tables{let: make(chan struct{})}
	r := newReadThrough(d.read)
	t.Cleanup(r.Stop)
	return d, r
}

// callers ask for an order at once, and tell what is wrong with their answers.
func callers(r *ReadThrough, n int, uid string, wrong chan<- error) {
	for range n {
		go func() {
			order, err := r.Read(context.Background(), uid)
			switch there := !strings.HasPrefix(uid, "no"); {
			case err != nil:
				wrong <- err
			case there != (order != nil), there && string(order.Bytes()) != uid:
				wrong <- fmt.Errorf("%s: another answer than the tables'", uid)
			default:
				wrong <- nil
			}
		}()
	}
	synctest.Wait()
}

// TestCallersShareReadings has many callers ask for few orders while all
// connections are busy.
func TestCallersShareReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := throughTables(t)
		wrong := make(chan error, 500)
		var want [][]string
		for i := range ReadThroughConns {
			callers(r, 1, "a", wrong)
			want = append(want, []string{"a"})
			require.Equal(t, want, d.begun(), "caller %d must not get what was read before it asked", i)
		}
		callers(r, 100, "a", wrong)
		callers(r, 100, "b", wrong)
		callers(r, 100, "none", wrong)
		require.Equal(t, want, d.begun(), "there is no connection for more")
		close(d.let)
		synctest.Wait()
		require.Equal(t, append(want, []string{"a", "b", "none"}), d.begun(), "each order is read once for all who wait")
		for range ReadThroughConns + 300 {
			require.NoError(t, <-wrong)
		}
		require.EqualValues(t, ReadThroughConns+300, r.Reads())
	})
}

// TestReadingsAreBounded asks for more orders than may wait.
func TestReadingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r := throughTables(t)
		wrong := make(chan error, 2*maxWaiting)
		for i := range ReadThroughConns {
			callers(r, 1, fmt.Sprint("first", i), wrong)
		}
		for i := range maxWaiting {
			go callOnce(r, fmt.Sprint("uid", i), wrong)
		}
		synctest.Wait()
		_, err := r.Read(t.Context(), "one more")
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "waiting already")
		require.Len(t, d.begun(), ReadThroughConns)
		close(d.let)
		for range maxWaiting + ReadThroughConns {
			require.NoError(t, <-wrong)
		}
		for _, batch := range d.begun() {
			require.LessOrEqual(t, len(batch), batchUIDs)
		}
	})
}

func callOnce(r *ReadThrough, uid string, wrong chan<- error) {
	_, err := r.Read(context.Background(), uid)
	wrong <- err
}

// TestAReadingsTimeIsBounded has tables that never answer.
func TestAReadingsTimeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := throughTables(t)
		wrong := make(chan error, 100)
		for i := range ReadThroughConns + 1 {
			callers(r, 1, fmt.Sprint("uid", i), wrong)
		}
		for range ReadThroughConns + 1 {
			require.ErrorIs(t, <-wrong, ErrUnavailable)
		}

		// Whoever has gone isn't waited for.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Read(ctx, "a")
		require.ErrorIs(t, err, context.Canceled)

		r.Stop()
		_, err = r.Read(t.Context(), "a")
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "stopping")
	})
}
