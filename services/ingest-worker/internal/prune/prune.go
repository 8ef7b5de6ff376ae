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

	"github.com/orderhub/orderhub/libs/orderdb"
)

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

// Prune removes the deletions that are old now, and moves the horizon past them in
// the same statement, so that no reader sees the one without the other. The horizon
// moves each time, even if it is past them already: a transaction that stayed open
// while younger deletions were pruned may have added these since, and only the
// horizon's move tells a reader of them.
func (p *Pruner) Prune(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	old := p.db.NewDelete().Model((*orderdb.Deletion)(nil)).
		Where("deleted_at < now() - make_interval(secs => ?)", p.retention.Seconds()).Returning("change_xid")
	_, err := p.db.NewUpdate().With("pruned", old).Model((*orderdb.ChangesState)(nil)).
		Set(`horizon = greatest((horizon::text::numeric + 1)::text::xid8,
			((SELECT max(change_xid::text::numeric) FROM pruned) + 1)::text::xid8)`). // xid8 has no arithmetic
		Where("EXISTS (SELECT FROM pruned)").Exec(ctx)
	if err != nil {
		return fmt.Errorf("prune deletions: %w", err)
	}
	return nil
}
