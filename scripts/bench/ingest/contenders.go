package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// copyConns is how many connections raw COPY and single transactions use.
const copyConns = 2

// contender stores the orders of a topic into an empty database in its own way.
type contender struct {
	name string
	run  func(ctx context.Context, t *trial) (sample, error)
}

// The contenders. The first is what all others are compared with.
var (
	rawCopy      = contender{"raw COPY, no triggers", runRawCopy}
	copyTriggers = contender{"raw COPY with triggers", runCopyWithTriggers}
	worker       = contender{"ingest-worker", runWorker}
	otherBuild   = contender{"ingest-worker, other build", runOtherBuild}
	single       = contender{"a transaction an order, 1 connection", runSingle(1)}
	singlePair   = contender{"a transaction an order, 2 connections", runSingle(2)}
)

// trial is what a contender works with.
type trial struct {
	settings *settings
	site     *rig.Site
	orders   *rig.Orders
	database string // fresh
	group    string // fresh
	stored   int    // orders that the database holds already
}

// wholeOrders makes a transaction do what the worker's do.
const (
	wholeOrders   = "SET LOCAL " + orderdb.WholeOrdersSetting + " = 'on'"
	notifyChanges = "NOTIFY " + orderdb.NotifyChannel
)

// withoutTriggers leaves the foreign keys, whose triggers are not the user's.
var withoutTriggers = []string{
	"ALTER TABLE orders DISABLE TRIGGER USER", "ALTER TABLE deliveries DISABLE TRIGGER USER",
	"ALTER TABLE payments DISABLE TRIGGER USER", "ALTER TABLE items DISABLE TRIGGER USER",
}

func runRawCopy(ctx context.Context, t *trial) (sample, error) {
	if err := rig.Execute(ctx, t.database, withoutTriggers...); err != nil {
		return sample{}, err
	}
	return meter{server: t.site.Server}.during(ctx, t.orders.Count, func() error {
		return t.orders.Copy(ctx, t.database, rig.CopyOptions{Conns: copyConns})
	})
}

func runCopyWithTriggers(ctx context.Context, t *trial) (sample, error) {
	return meter{server: t.site.Server}.during(ctx, t.orders.Count, func() error {
		return t.orders.Copy(ctx, t.database, rig.CopyOptions{Conns: copyConns, Before: wholeOrders, After: notifyChanges})
	})
}

func runWorker(ctx context.Context, t *trial) (sample, error) { return runWorkers(ctx, t, t.site, 1) }

func runOtherBuild(ctx context.Context, t *trial) (sample, error) {
	flags := *t.site.Flags
	flags.Binaries = t.settings.Compare
	other := *t.site
	other.Flags = &flags
	return runWorkers(ctx, t, &other, 1)
}

// runWorkers has the real worker drain the topic, or several that share it. The
// clock starts when all of them are members of the group and have asked for
// records.
func runWorkers(ctx context.Context, t *trial, site *rig.Site, count int) (s sample, err error) {
	if err := t.site.Broker.Hold(); err != nil {
		return sample{}, err
	}
	released := false
	defer func() {
		if !released {
			_ = t.site.Broker.Release()
		}
	}()
	var workers []*rig.Service
	defer func() {
		for _, w := range workers {
			_ = w.Stop() // what it did has been checked
		}
	}()
	for range count {
		w, err := site.StartWorker(ctx, t.orders.Topic, t.database, "KAFKA_GROUP="+t.group)
		if err != nil {
			return sample{}, err
		}
		workers = append(workers, w)
	}
	joined, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := t.site.Broker.WaitMembers(joined, t.group, len(workers)); err != nil {
		return sample{}, err
	}
	for _, w := range workers { // the rebalance may have interrupted them
		if err := w.WaitReady(joined); err != nil {
			return sample{}, err
		}
	}
	var profiled <-chan struct{}
	m := meter{server: t.site.Server, broker: t.site.Broker.Pid(), workers: workers}
	s, err = m.during(ctx, t.orders.Count, func() error {
		if err := t.site.Broker.Release(); err != nil {
			return err
		}
		released = true
		profiled = t.profile(ctx, workers[0])
		return rig.WaitStored(ctx, workers, t.orders.Count)
	})
	if err != nil {
		return sample{}, err
	}
	<-profiled
	return s, checkStored(ctx, t)
}

// warm makes a contender start with a database in use: as many orders again are
// stored first. Then pages are in memory, and their first change after the checkpoint,
// which writes the whole page to the WAL, is behind them.
func warm(c contender, orders *rig.Orders) contender {
	return contender{c.name + warmSuffix, func(ctx context.Context, t *trial) (sample, error) {
		if err := orders.Copy(ctx, t.database, rig.CopyOptions{Conns: copyConns, Before: wholeOrders}); err != nil {
			return sample{}, err
		}
		t.stored += orders.Count
		return c.run(ctx, t)
	}}
}

const warmSuffix = ", warm"

// checkStored compares the tables with what was published: speed does not count
// where something is missing.
func checkStored(ctx context.Context, t *trial) error {
	conn, err := pgx.Connect(ctx, t.database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for table, each := range map[string]int{"orders": 1, "deliveries": 1, "payments": 1, "items": t.orders.Items} {
		var count int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&count); err != nil {
			return err
		}
		if want := (t.orders.Count + t.stored) * each; count != want {
			return fmt.Errorf("table %s has %d rows afterwards, not %d", table, count, want)
		}
	}
	return nil
}

// profile takes profiles of a worker at work, where that is wanted. The channel
// is closed when that is over.
func (t *trial) profile(ctx context.Context, w *rig.Service) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if t.settings.Profiles == "" {
			return
		}
		const seconds = 5
		name := filepath.Join(t.settings.Profiles, t.group)
		for what, file := range map[string]string{
			"profile?seconds=" + strconv.Itoa(seconds): name + ".cpu.pprof",
			"allocs?seconds=" + strconv.Itoa(seconds):  name + ".allocs.pprof",
		} {
			if err := w.Profile(ctx, what, file); err != nil {
				program.Progress("no profile: %v", err)
			}
		}
	}()
	return done
}

// runSingle stores orders as services mostly do: a transaction for each, a
// statement for each row; one connection is a consumer that takes one record
// after another. It takes only so many orders as give a rate. The triggers
// are off and nothing is notified, both of which would make it slower.
func runSingle(conns int) func(context.Context, *trial) (sample, error) {
	return func(ctx context.Context, t *trial) (sample, error) {
		orders := t.orders.Sample[:min(len(t.orders.Sample), t.settings.Single)]
		return meter{server: t.site.Server}.during(ctx, len(orders), func() error {
			group, ctx := errgroup.WithContext(ctx)
			for part := range conns {
				group.Go(func() error { return insertEach(ctx, t.database, orders, part, conns) })
			}
			return group.Wait()
		})
	}
}

// insertEach stores every so-many-th of the orders.
func insertEach(ctx context.Context, database string, orders []*model.Order, first, step int) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "SET "+orderdb.WholeOrdersSetting+" = 'on'"); err != nil {
		return err
	}
	for i := first; i < len(orders); i += step {
		if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return ledger.Insert(ctx, tx, orders[i]) }); err != nil {
			return err
		}
	}
	return nil
}
