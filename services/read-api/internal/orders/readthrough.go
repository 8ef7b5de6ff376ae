package orders

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

const (
	// ReadThroughConns is how many connections ReadThrough uses at most: few, so that
	// many callers share a query. Most come while the cache is behind because the
	// database is busy, and would keep it so.
	ReadThroughConns = 2
	// readTimeout bounds a read from the database, the wait for a connection
	// included.
	readTimeout = 2 * time.Second
	batchUIDs   = 200
	// maxWaiting bounds the uids that wait for their batch. Beyond it a request is
	// better refused than kept.
	maxWaiting = 5000
)

// ReadThrough reads single orders from the database, many callers' at once:
// while all connections are busy, uids gather and go into the next batch, each
// once. A caller never joins a batch that began before its call, whose answer
// might be from before a change that the caller knows of. Methods are safe for
// concurrent use.
type ReadThrough struct {
	read   func(ctx context.Context, uids []string) (map[string]*cache.Record, error)
	ctx    context.Context // of the batches: it outlives their callers
	cancel context.CancelFunc
	done   sync.WaitGroup
	reads  atomic.Int64

	mu      sync.Mutex
	waiting map[string]*call
	running int
}

// call is what one or more callers wait for.
type call struct {
	ready chan struct{}
	order *cache.Record // nil: there is none
	err   error
}

// NewReadThrough reads from db, in transactions of its own.
func NewReadThrough(db *bun.DB, metrics prometheus.Registerer) *ReadThrough {
	took := metric.Histogram(metrics, "orderhub_read_through_seconds", "Time that the database took for orders that memory could not answer for.", databaseBuckets)
	r := newReadThrough(func(ctx context.Context, uids []string) (map[string]*cache.Record, error) {
		defer prometheus.NewTimer(took).ObserveDuration()
		return readStored(ctx, db, uids)
	})
	metric.CounterOf(metrics, "orderhub_read_throughs_total", "Orders that PostgreSQL was asked for, since memory could not answer.", r.Reads)
	return r
}

// databaseBuckets are of the time of a query, which is readTimeout at most.
var databaseBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

func newReadThrough(read func(context.Context, []string) (map[string]*cache.Record, error)) *ReadThrough {
	ctx, cancel := context.WithCancel(context.Background())
	return &ReadThrough{read: read, ctx: ctx, cancel: cancel, waiting: map[string]*call{}}
}

// Stop gives up what is being read. Callers that still wait get an error.
func (r *ReadThrough) Stop() {
	r.cancel()
	r.done.Wait()
}

// Reads is how many orders were asked for so far.
func (r *ReadThrough) Reads() int64 { return r.reads.Load() }

// Read returns an order as the database has it at some moment after the call,
// nil where there is none. An error is ErrUnavailable, after readTimeout at the
// latest, or ctx's.
func (r *ReadThrough) Read(ctx context.Context, uid string) (*cache.Record, error) {
	r.reads.Add(1)
	c, err := r.join(uid)
	if err != nil {
		return nil, err
	}
	late := time.NewTimer(readTimeout)
	defer late.Stop()
	select {
	case <-c.ready:
		return c.order, c.err
	case <-late.C: // so many wait that their turn has not come
		return nil, fmt.Errorf("%w: no answer within %v", ErrUnavailable, readTimeout)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *ReadThrough) join(uid string) (*call, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return nil, fmt.Errorf("%w: the service is stopping", ErrUnavailable)
	}
	if c, ok := r.waiting[uid]; ok {
		return c, nil
	}
	if len(r.waiting) >= maxWaiting {
		return nil, fmt.Errorf("%w: %d reads are waiting already", ErrUnavailable, maxWaiting)
	}
	c := &call{ready: make(chan struct{})}
	r.waiting[uid] = c
	if r.running < ReadThroughConns {
		r.running++
		r.done.Go(r.work)
	}
	return c, nil
}

// work reads batch after batch until nobody waits.
func (r *ReadThrough) work() {
	for calls := r.take(); calls != nil; calls = r.take() {
		ctx, cancel := context.WithTimeout(r.ctx, readTimeout)
		found, err := r.read(ctx, slices.Collect(maps.Keys(calls)))
		cancel()
		for uid, c := range calls {
			c.order, c.err = found[uid], err
			close(c.ready)
		}
	}
}

// take returns the next batch; nil ends the worker.
func (r *ReadThrough) take() map[string]*call {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		r.running--
		return nil
	}
	calls := make(map[string]*call, min(len(r.waiting), batchUIDs))
	for uid, c := range r.waiting {
		calls[uid] = c
		delete(r.waiting, uid)
		if len(calls) == batchUIDs {
			break
		}
	}
	return calls
}

// readStored reads orders as they are at one moment.
func readStored(ctx context.Context, db *bun.DB, uids []string) (map[string]*cache.Record, error) {
	var found map[string]*cache.Record
	err := view(ctx, db, func(ctx context.Context, tx bun.Tx) error {
		stored, err := orderdb.Read(ctx, tx, uids)
		if err != nil {
			return err
		}
		found = make(map[string]*cache.Record, len(stored))
		for uid, s := range stored {
			record := cache.NewRecord(uid, model.AppendCanonical(nil, s.Order))
			found[uid] = &record
		}
		return nil
	})
	return found, err
}

// view is orderdb.View. Any failure is ErrUnavailable: the queries are ours, so what
// fails is the database.
func view(ctx context.Context, db *bun.DB, do func(context.Context, bun.Tx) error) error {
	if err := orderdb.View(ctx, db, do); err != nil {
		return errors.Join(ErrUnavailable, err)
	}
	return nil
}
