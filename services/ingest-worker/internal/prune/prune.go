// Package prune deletes what is old: orders, if their age is limited, their earlier
// versions, deletions that are remembered, and rows of the table of deletions. Readers that are too far behind for what is left of these see that
// by the stored horizon, and relist.
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
	db  *bun.DB
	cfg Config
	log *zap.Logger

	orders, deletions, versions, tombstones, failures prometheus.Counter

	done, took prometheus.Gauge
}

// Config of a Pruner.
type Config struct {
	// Deletions is how long deletions are kept: how long a reader may have been away
	// without a relist.
	Deletions time.Duration
	// Orders is how old orders get, by their date_created; 0: they are kept for ever.
	Orders time.Duration
	// Versions is how long earlier versions of orders are kept.
	Versions time.Duration
	// Tombstones is how long deletions by records are remembered.
	Tombstones time.Duration
	Interval   time.Duration
}

// New returns a pruner.
func New(db *bun.DB, cfg Config, metrics prometheus.Registerer, log *zap.Logger) *Pruner {
	p := &Pruner{
		db: db, cfg: cfg, log: log,
		orders:     metric.Counter(metrics, "orderhub_prune_orders_total", "Orders that were deleted for their age."),
		deletions:  metric.Counter(metrics, "orderhub_prune_deletions_total", "Deletions that were pruned."),
		versions:   metric.Counter(metrics, "orderhub_prune_versions_total", "Earlier versions of orders that were deleted for their age."),
		tombstones: metric.Counter(metrics, "orderhub_prune_tombstones_total", "Deletions by records that are no longer remembered."),
		failures:   metric.Counter(metrics, "orderhub_prune_failures_total", "Prunings that failed."),
		done:       metric.Gauge(metrics, "orderhub_prune_success_timestamp_seconds", "When this worker last pruned; 0: not yet."),
		took:       metric.Gauge(metrics, "orderhub_prune_seconds", "Time that the last pruning took."),
	}
	p.Loop = lifecycle.NewLoop("pruner", p.run, nil)
	return p
}

func (p *Pruner) run(ctx context.Context) error {
	for {
		// Jitter: several workers prune, and one of them is enough.
		if err := retry.Sleep(ctx, p.cfg.Interval/2+rand.N(p.cfg.Interval)); err != nil {
			return err
		}
		if err := errors.Join(p.Prune(ctx), p.PruneOrders(ctx), p.PruneVersions(ctx)); err != nil && ctx.Err() == nil {
			p.log.Warn("old rows not pruned, retrying later", zap.Error(err))
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
		Where("deleted_at < now() - make_interval(secs => ?)", p.cfg.Deletions.Seconds()).Returning("change_xid")
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

// batchOrders is how many orders a transaction deletes, and so how many rows others may
// have to wait for.
const batchOrders = 1000

// PruneOrders deletes the orders that are too old now, the oldest first, and their earlier
// versions.
func (p *Pruner) PruneOrders(ctx context.Context) error {
	if p.cfg.Orders == 0 {
		return nil
	}
	return p.batches(ctx, "orders", p.orders, func(ctx context.Context) (int, error) {
		var gone []string
		old := p.db.NewSelect().Model((*orderdb.Order)(nil)).Column("order_uid").
			Where("date_created < now() - make_interval(secs => ?)", p.cfg.Orders.Seconds()).Order("date_created", "order_uid").Limit(batchOrders)
		err := p.db.NewDelete().Model((*orderdb.Order)(nil)).Where("order_uid = ANY (ARRAY(?))", old).Returning("order_uid").Scan(ctx, &gone)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
		return len(gone), orderdb.Forget(ctx, p.db, gone)
	})
}

// PruneVersions deletes earlier versions and remembered deletions that are too old now.
func (p *Pruner) PruneVersions(ctx context.Context) error {
	return errors.Join(
		p.pruneTable(ctx, "order_versions", "replaced_at", p.cfg.Versions, p.versions),
		p.pruneTable(ctx, "order_tombstones", "deleted_at", p.cfg.Tombstones, p.tombstones),
	)
}

func (p *Pruner) pruneTable(ctx context.Context, table, column string, age time.Duration, count prometheus.Counter) error {
	return p.batches(ctx, table, count, func(ctx context.Context) (int, error) {
		if has, err := orderdb.Has(ctx, p.db, table); err != nil || !has { // the last release's schema
			return 0, err
		}
		result, err := p.db.NewRaw("DELETE FROM ?0 WHERE ctid = ANY (ARRAY(SELECT ctid FROM ?0 WHERE ?1 < now() - make_interval(secs => ?2) LIMIT ?3))",
			bun.Ident(table), bun.Ident(column), age.Seconds(), batchOrders).Exec(ctx)
		if err != nil {
			return 0, err
		}
		n, err := result.RowsAffected()
		return int(n), err
	})
}

// batches repeats a deletion of up to batchOrders rows until there are fewer.
func (p *Pruner) batches(ctx context.Context, what string, count prometheus.Counter, prune func(context.Context) (int, error)) error {
	for deleted := batchOrders; deleted == batchOrders; {
		batch, cancel := context.WithTimeout(ctx, time.Minute)
		var err error
		deleted, err = prune(batch)
		cancel()
		if err != nil {
			p.failures.Inc()
			return fmt.Errorf("prune %s: %w", what, err)
		}
		count.Add(float64(deleted))
	}
	return nil
}
