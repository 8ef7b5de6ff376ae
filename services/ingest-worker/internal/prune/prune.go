// Package prune keeps the table of deletions short. Readers that are too far
// behind for what is left of it see that by the stored horizon, and relist.
package prune

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/uptrace/bun"
	"go.uber.org/zap"
)

// query removes old deletions and moves the horizon past them in one
// transaction, so that no reader sees the one without the other. The horizon
// moves each time, even where it is past them already: a transaction that stayed
// open while younger deletions were pruned may have added these since, and a
// reader that has seen the horizon is told of them by its moving alone.
const query = `WITH gone AS (
	DELETE FROM order_deletions WHERE deleted_at < now() - make_interval(secs => ?) RETURNING change_xid
)
UPDATE order_changes_state
   SET horizon = greatest((horizon::text::numeric + 1)::text::xid8, ((SELECT max(change_xid::text::numeric) FROM gone) + 1)::text::xid8)
 WHERE EXISTS (SELECT FROM gone)`

// Pruner prunes now and then. Start and Stop are called once each, in that order.
type Pruner struct {
	db        *bun.DB
	retention time.Duration
	interval  time.Duration
	log       *zap.Logger
	stop      context.CancelFunc
	done      chan struct{}
}

// New returns a pruner of deletions that are older than retention, which is how
// long a reader may have been away without a relist.
func New(db *bun.DB, retention, interval time.Duration, log *zap.Logger) *Pruner {
	return &Pruner{db: db, retention: retention, interval: interval, log: log, done: make(chan struct{})}
}

// Start prunes in the background.
func (p *Pruner) Start(context.Context) error {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		defer close(p.done)
		for {
			// Jitter: several workers prune, and one of them is enough.
			wait := p.interval/2 + time.Duration(rand.Int64N(int64(p.interval)))
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if err := p.Prune(ctx); err != nil && ctx.Err() == nil {
				p.log.Warn("deletions were not pruned; next time", zap.Error(err))
			}
		}
	}()
	return nil
}

// Stop ends the background work.
func (p *Pruner) Stop(context.Context) error {
	p.stop()
	<-p.done
	return nil
}

// Prune removes the deletions that are old now.
func (p *Pruner) Prune(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := p.db.ExecContext(ctx, query, p.retention.Seconds()); err != nil {
		return fmt.Errorf("prune deletions: %w", err)
	}
	return nil
}
