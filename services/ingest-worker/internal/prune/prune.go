// Package prune keeps the table of deletions short. Readers that are too far
// behind for what is left of it see that by the stored horizon, and relist.
package prune

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// Pruner prunes in the background from Start until Stop.
type Pruner struct {
	*lifecycle.Loop
	db        *bun.DB
	retention time.Duration
	interval  time.Duration
	log       *zap.Logger

	deletions, failures prometheus.Counter
	done, took          prometheus.Gauge
}

// New returns a pruner of deletions that are older than retention, which is how
// long a reader may have been away without a relist.
func New(db *bun.DB, retention, interval time.Duration, metrics prometheus.Registerer, log *zap.Logger) *Pruner {
	p := &Pruner{
		db: db, retention: retention, interval: interval, log: log,
		deletions: metric.Counter(metrics, "orderhub_prune_deletions_total", "Deletions that were pruned."),
		failures:  metric.Counter(metrics, "orderhub_prune_failures_total", "Prunings that failed."),
		done:      metric.Gauge(metrics, "orderhub_prune_success_timestamp_seconds", "When this worker last pruned; 0: not yet."),
		took:      metric.Gauge(metrics, "orderhub_prune_seconds", "Time that the last pruning took."),
	}
	p.Loop = lifecycle.NewLoop("pruner", p.run, nil)
	return p
}

func (p *Pruner) run(ctx context.Context) error {
	for {
		// Jitter: several workers prune, and one of them is enough.
		if err := retry.Sleep(ctx, p.interval/2+rand.N(p.interval)); err != nil {
			return err
		}
		if err := p.Prune(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("deletions not pruned, retrying later", zap.Error(err))
		}
	}
}

// Prune removes the deletions that are old now, and moves the horizon past them in
// the same statement, so that no reader sees the one without the other. The horizon
// moves each time, even if it is past them already: a transaction that stayed open
// while younger deletions were pruned may have added these since, and only the
// horizon's move tells a reader of them.
func (p *Pruner) Prune(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	old := p.db.NewDelete().Model((*orderdb.Deletion)(nil)).
		Where("deleted_at < now() - make_interval(secs => ?)", p.retention.Seconds()).Returning("change_xid")
	var pruned int64
	err := p.db.NewUpdate().With("pruned", old).Model((*orderdb.ChangesState)(nil)).
		Set(`horizon = greatest((horizon::text::numeric + 1)::text::xid8,
			((SELECT max(change_xid::text::numeric) FROM pruned) + 1)::text::xid8)`). // xid8 has no arithmetic
		Where("EXISTS (SELECT FROM pruned)").Returning("(SELECT count(*) FROM pruned)").Scan(ctx, &pruned)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		p.failures.Inc()
		return fmt.Errorf("prune deletions: %w", err)
	}
	p.deletions.Add(float64(pruned))
	p.took.Set(time.Since(began).Seconds())
	p.done.SetToCurrentTime()
	return nil
}
