package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// Topics' seeds: a run repeats another's orders exactly, and those that are
// stored beforehand are others.
const ordersSeed, warmSeed = 1, 3

// scalingPartitions is for several workers.
const scalingPartitions = 8

// runTimeout bounds one measurement.
const runTimeout = 20 * time.Minute

// bench measures everything that the settings ask for.
func bench(ctx context.Context, s *settings) (err error) {
	site, err := rig.NewSite(s.Common())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	if err := site.StartServer(ctx, s.Postgres); err != nil {
		return err
	}
	b := &runner{settings: s, site: site}
	for i, items := range s.Items {
		if err := b.withOrders(ctx, items, s.Partitions, func(orders *rig.Orders) error {
			return b.comparison(ctx, orders, i == 0)
		}); err != nil {
			return err
		}
	}
	if s.Schema {
		if err := b.withOrders(ctx, s.Items[0], s.Partitions, func(orders *rig.Orders) error { return b.schema(ctx, orders) }); err != nil {
			return err
		}
	}
	if len(s.Workers) > 0 {
		if err := b.withOrders(ctx, s.Items[0], scalingPartitions, func(orders *rig.Orders) error {
			return b.scaling(ctx, orders)
		}); err != nil {
			return err
		}
	}
	if s.Preload > 0 {
		err = b.withOrders(ctx, s.Items[0], s.Partitions, func(orders *rig.Orders) error { return b.preloaded(ctx, orders) })
	}
	return err
}

// runner runs measurements one after another.
type runner struct {
	settings *settings
	site     *rig.Site

	stored int // orders in the server's template
	runs   int
	empty  samples // of the first table, for the one with orders stored already
}

// samples are the measurements of each contender, a sample a round.
type samples map[string][]sample

// withOrders makes orders in a broker of their own, whose memory ends with it.
func (b *runner) withOrders(ctx context.Context, items, partitions int, use func(*rig.Orders) error) (err error) {
	if err := b.site.RenewBroker(); err != nil {
		return err
	}
	orders, err := b.makeOrders(ctx, rig.OrdersOptions{
		Topic: "orders", Partitions: partitions, Count: b.settings.Orders, Items: items, Seed: ordersSeed,
	})
	if err != nil {
		return err
	}
	return use(orders)
}

func (b *runner) makeOrders(ctx context.Context, o rig.OrdersOptions) (*rig.Orders, error) {
	program.Progress("publishing %d orders of %d items", o.Count, o.Items)
	o.BatchSize = b.settings.Batch
	return b.site.MakeOrders(ctx, o)
}

// run gives a contender a database of its own.
func (b *runner) run(ctx context.Context, c contender, orders *rig.Orders) (s sample, err error) {
	err = b.trial(ctx, orders, func(ctx context.Context, t *trial) error {
		s, err = c.run(ctx, t)
		return err
	})
	if err != nil {
		return s, fmt.Errorf("%s: %w", c.name, err)
	}
	program.Progress("%-24s %8.0f orders/s   database %5.1f µs, client %5.1f µs an order", c.name, s.rate(), s.databaseCost(), s.clientCost())
	return s, nil
}

func (b *runner) trial(ctx context.Context, orders *rig.Orders, use func(context.Context, *trial) error) error {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	database, drop, err := b.site.Server.Fresh(ctx)
	if err != nil {
		return err
	}
	defer drop()
	b.runs++
	return use(ctx, &trial{
		settings: b.settings, site: b.site, orders: orders,
		database: database, group: fmt.Sprintf("bench-%d", b.runs), stored: b.stored,
	})
}

// rounds runs the contenders in turn, beginning with another one each time.
func (b *runner) rounds(ctx context.Context, orders *rig.Orders, contenders []contender) (samples, error) {
	measured := samples{}
	for round := range b.settings.Rounds {
		program.Progress("round %d of %d", round+1, b.settings.Rounds)
		for i := range contenders {
			c := contenders[(round+i)%len(contenders)]
			s, err := b.run(ctx, c, orders)
			if err != nil {
				return nil, err
			}
			measured[c.name] = append(measured[c.name], s)
		}
	}
	return measured, nil
}

// comparison is the main table: worker, COPY and single transactions.
func (b *runner) comparison(ctx context.Context, orders *rig.Orders, first bool) error {
	program.Progress("warming up: files of WAL and of tables that later runs use again")
	if _, err := b.run(ctx, rawCopy, orders); err != nil {
		return err
	}
	contenders := []contender{rawCopy, worker, copyTriggers}
	if b.settings.Compare != "" {
		contenders = append(contenders, otherBuild)
	}
	if b.settings.Single > 0 {
		contenders = append(contenders, single, singlePair)
	}
	measured, err := b.rounds(ctx, orders, contenders)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range []contender{rawCopy, copyTriggers, worker, otherBuild, single, singlePair} {
		if len(measured[c.name]) > 0 {
			names = append(names, c.name)
		}
	}
	title := fmt.Sprintf("%s of %s, %d partitions, %d bytes a record",
		count(orders.Count, "order"), count(orders.Items, "item"), b.settings.Partitions, orders.Bytes/int64(orders.Count))
	body := comparisonTable(title, names, measured).Markdown() + "\n" + goals(measured)
	if err := b.site.Save(fmt.Sprintf("ingest-%d", orders.Items), body); err != nil {
		return err
	}
	if !first {
		return nil
	}
	b.empty = measured
	if b.settings.Latency == 0 {
		return nil
	}
	return b.latency(ctx, orders)
}

func (b *runner) latency(ctx context.Context, orders *rig.Orders) error {
	program.Progress("timing %d single orders", b.settings.Latency)
	return b.trial(ctx, orders, func(ctx context.Context, t *trial) error {
		l, err := measureLatency(ctx, t, b.settings.Latency)
		if err != nil {
			return fmt.Errorf("latency: %w", err)
		}
		return b.site.Save("ingest-latency", latencyTable(l))
	})
}

// scaling is the table of several workers.
func (b *runner) scaling(ctx context.Context, orders *rig.Orders) error {
	contenders := []contender{rawCopy}
	for _, n := range b.settings.Workers {
		contenders = append(contenders, contender{count(n, "worker"), func(ctx context.Context, t *trial) (sample, error) {
			return runWorkers(ctx, t, t.site, n)
		}})
	}
	measured, err := b.rounds(ctx, orders, contenders)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range contenders {
		names = append(names, c.name)
	}
	title := fmt.Sprintf("%s of %s, %d partitions", count(orders.Count, "order"), count(orders.Items, "item"), scalingPartitions)
	return b.site.Save("ingest-scaling", comparisonTable(title, names, measured).Markdown())
}

// preloaded is the first table again, with orders stored already.
func (b *runner) preloaded(ctx context.Context, orders *rig.Orders) error {
	if _, err := b.site.Store(ctx, b.settings.Preload, orders.Items); err != nil {
		return err
	}
	b.stored = b.settings.Preload
	warming, err := b.makeOrders(ctx, rig.OrdersOptions{
		Topic: "warming", Partitions: 1, Count: orders.Count, Items: orders.Items, Seed: warmSeed,
	})
	if err != nil {
		return err
	}
	contenders := []contender{rawCopy, worker, warm(rawCopy, warming), warm(worker, warming)}
	measured, err := b.rounds(ctx, orders, contenders)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("%s of %s into tables with %s already", count(orders.Count, "order"), count(orders.Items, "item"), count(b.stored, "order"))
	body := comparisonTable(title+", right after a checkpoint, buffers cold", []string{rawCopy.name, worker.name}, measured).Markdown() + "\n" +
		comparisonTable(title+", warm", []string{rawCopy.name + warmSuffix, worker.name + warmSuffix}, measured).Markdown() + "\n" +
		preloadedLines(b.empty, measured)
	return b.site.Save("ingest-preloaded", body)
}
