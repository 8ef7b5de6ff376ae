// Command ingest measures how fast orders get from Kafka into PostgreSQL, and
// what that costs, against what PostgreSQL can take at all: binary COPY of the
// same rows into the same tables.
//
// All of it happens in one run on one private server, with each run of a round
// next to the others, so that the ratios hold on a noisy machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole) }

var benchmark = program.Named("ingest", "The rate and cost of ingest-worker against raw COPY, on a private PostgreSQL and broker.")

type settings struct {
	program.Flags
	Orders     int               `default:"400000" full:"400000" smoke:"2000" min:"1" help:"Orders in the topic."`
	Items      []int             `default:"1,3,10" smoke:"1,3" min:"1" help:"Items of an order: a table for each number."`
	Rounds     int               `default:"3" smoke:"1" min:"1" help:"How often each measurement is made; the table has medians."`
	Partitions int               `default:"4" min:"1" help:"Partitions of the topic."`
	Batch      int               `default:"2000" smoke:"500" min:"1" help:"Orders in a transaction of raw COPY."`
	Single     int               `default:"3000" smoke:"100" min:"0" help:"Orders stored with a transaction each, to measure that rate (0: not measured)."`
	Latency    int               `default:"1000" smoke:"20" min:"0" help:"Single orders that are timed through the idle worker (0: not measured)."`
	Preload    int               `default:"3000000" smoke:"5000" min:"0" help:"Measure again with so many orders stored already (0: not measured)."`
	Workers    []int             `default:"1,2,4" smoke:"1,2" min:"1" help:"Measure so many workers on 8 partitions (empty: not measured)."`
	Schema     bool              `default:"true" help:"Measure what keys, indexes, foreign keys and triggers cost raw COPY."`
	Compare    string            `help:"Folder with another build of ingest-worker, to be measured in turn with the first."`
	Postgres   map[string]string `mapsep:"none" help:"Setting of the server, name=value; can be repeated (shared_buffers by default: a quarter of the memory)."`
}

// AfterApply is called by kong.
func (s *settings) AfterApply() error {
	defaults := map[string]string{"shared_buffers": rig.QuarterOfMemory()}
	if s.Smoke {
		defaults = map[string]string{"shared_buffers": "128MB", "min_wal_size": "128MB"}
	}
	maps.Copy(defaults, s.Postgres)
	s.Postgres = defaults
	if len(s.Items) == 0 {
		return errors.New("--items: at least one number")
	}
	return nil
}

// Seeds of topics: each run has the same orders, and other ones stored beforehand.
const ordersSeed, warmSeed = 1, 3

// scalingPartitions is for several workers.
const scalingPartitions = 8

// runTimeout bounds one measurement.
const runTimeout = 20 * time.Minute

// bench measures everything that the settings ask for.
func bench(ctx context.Context, s *settings) (err error) {
	site, err := rig.OpenSite(ctx, s.Common(), s.Postgres)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	b := &runner{settings: s, site: site}
	for _, items := range s.Items {
		if err := b.with(ctx, items, s.Partitions, b.comparison); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		wanted     bool
		partitions int
		measure    func(context.Context, *rig.Orders) error
	}{
		{s.Schema, s.Partitions, func(ctx context.Context, orders *rig.Orders) error {
			return b.table(ctx, "ingest-schema", ofItems(orders)+", raw COPY into changed tables", orders, schemaContenders())
		}},
		{len(s.Workers) > 0, scalingPartitions, b.scaling},
		{s.Preload > 0, s.Partitions, b.preloaded},
	} {
		if !part.wanted {
			continue
		}
		if err := b.with(ctx, s.Items[0], part.partitions, part.measure); err != nil {
			return err
		}
	}
	return nil
}

// runner runs measurements one after another.
type runner struct {
	settings *settings
	site     *rig.Site

	stored int // orders in the server's template
	runs   int
	empty  samples // of the first table, to compare with what has orders stored already
}

// with measures orders in a broker of their own, whose memory ends with it.
func (b *runner) with(ctx context.Context, items, partitions int, measure func(context.Context, *rig.Orders) error) error {
	if err := b.site.RenewBroker(); err != nil {
		return err
	}
	orders, err := b.makeOrders(ctx, rig.OrdersOptions{
		Topic: "orders", Partitions: partitions, Count: b.settings.Orders, Items: items, Seed: ordersSeed,
	})
	if err != nil {
		return err
	}
	return measure(ctx, orders)
}

func (b *runner) makeOrders(ctx context.Context, o rig.OrdersOptions) (*rig.Orders, error) {
	program.Progress("publishing %d orders of %d items", o.Count, o.Items)
	o.BatchSize = b.settings.Batch
	return b.site.MakeOrders(ctx, o)
}

// trial gives a measurement a database of its own.
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

func (b *runner) run(ctx context.Context, c contender, orders *rig.Orders) (u rig.Use, err error) {
	err = b.trial(ctx, orders, func(ctx context.Context, t *trial) (err error) {
		u, err = c.run(ctx, t)
		return err
	})
	return u, err
}

func (b *runner) rounds(ctx context.Context, orders *rig.Orders, contenders []contender) (samples, error) {
	var all []program.Contender[rig.Use]
	for _, c := range contenders {
		all = append(all, program.Contender[rig.Use]{Name: c.name, Run: func(ctx context.Context) (rig.Use, error) { return b.run(ctx, c, orders) }})
	}
	return program.Measure(ctx, b.settings.Rounds, all, func(u rig.Use) string {
		return fmt.Sprintf("%8.0f orders/s   database %5.1f µs, client %5.1f µs an order", u.Rate(), u.DatabaseCost(), u.ClientCost())
	})
}

// comparison is the main table: worker, COPY and single transactions. The first
// one is followed by the latency of single orders.
func (b *runner) comparison(ctx context.Context, orders *rig.Orders) error {
	program.Progress("warming up: files of WAL and of tables that later runs use again")
	if _, err := b.run(ctx, rawCopy, orders); err != nil {
		return err
	}
	contenders := []contender{rawCopy, copyTriggers, worker}
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
	title := fmt.Sprintf("%s, %d partitions, %d bytes a record", ofItems(orders), b.settings.Partitions, orders.Bytes/int64(orders.Count))
	if err := b.site.Save(fmt.Sprintf("ingest-%d", orders.Items), comparisonTable(title, contenders, measured)+"\n"+goals(measured)); err != nil {
		return err
	}
	if b.empty != nil {
		return nil
	}
	b.empty = measured
	if b.settings.Latency == 0 {
		return nil
	}
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
		contenders = append(contenders, contender{count(n, "worker"), runWorkers(n)})
	}
	return b.table(ctx, "ingest-scaling", fmt.Sprintf("%s, %d partitions", ofItems(orders), scalingPartitions), orders, contenders)
}

func (b *runner) table(ctx context.Context, section, title string, orders *rig.Orders, contenders []contender) error {
	measured, err := b.rounds(ctx, orders, contenders)
	if err != nil {
		return err
	}
	return b.site.Save(section, comparisonTable(title, contenders, measured))
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
	cold, hot := []contender{rawCopy, worker}, []contender{warm(rawCopy, warming), warm(worker, warming)}
	measured, err := b.rounds(ctx, orders, append(cold, hot...))
	if err != nil {
		return err
	}
	title := fmt.Sprintf("%s into tables with %s already", ofItems(orders), count(b.stored, "order"))
	return b.site.Save("ingest-preloaded", comparisonTable(title+", right after a checkpoint, buffers cold", cold, measured)+"\n"+
		comparisonTable(title+", warm", hot, measured)+"\n"+preloadedLines(b.empty, measured))
}

func ofItems(orders *rig.Orders) string {
	return count(orders.Count, "order") + " of " + count(orders.Items, "item")
}
