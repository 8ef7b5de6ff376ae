// Package ingest measures how fast orders get from Kafka into PostgreSQL, and what
// that costs, against what PostgreSQL can take at all: binary COPY of the same rows
// into the same tables.
package ingest

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// Benchmark has the flags.
type Benchmark struct {
	Orders      int               `default:"400000" smoke:"2000" help:"Orders in the topic."`
	Items       []int             `default:"1,3,10" smoke:"1,3" help:"Items of an order: a table for each number."`
	Rounds      int               `default:"3" smoke:"1" help:"How often each measurement is made; the table has medians."`
	Partitions  int               `default:"4" help:"Partitions of the topic."`
	Batch       int               `default:"2000" smoke:"500" help:"Orders in a transaction of raw COPY."`
	Single      int               `default:"3000" smoke:"100" help:"Orders stored with a transaction each, to measure that rate (0: not measured)."`
	Latency     int               `default:"1000" smoke:"20" help:"Single orders that are timed through the idle worker (0: not measured)."`
	Preload     int               `default:"3000000" smoke:"5000" help:"Measure again with so many orders stored already (0: not measured)."`
	Workers     []int             `default:"1,2,4" smoke:"1,2" help:"Measure so many workers on 8 partitions (empty: not measured)."`
	Schema      bool              `default:"true" help:"Measure what keys, indexes, foreign keys and triggers cost raw COPY."`
	Versions    bool              `default:"true" help:"Measure what it costs that newer records replace orders."`
	ListIndexes bool              `default:"true" help:"Keep the indexes of lists, which orderctl migrate --drop-list-indexes drops."`
	Compare     string            `help:"Folder with another build of ingest-worker, to be measured in turn with the first."`
	Postgres    map[string]string `mapsep:"none" help:"Setting of the server, name=value; can be repeated (shared_buffers by default: a quarter of the memory)."`

	site   *rig.Site
	stored int // orders in the server's template
	runs   int
	empty  samples // of the first table, to compare with what has orders stored already
}

// Seeds of topics: each run has the same orders, and other ones stored beforehand.
const ordersSeed, warmSeed = 1, 3

// scalingPartitions is for several workers.
const scalingPartitions = 8

const runTimeout = 20 * time.Minute

// Measure measures everything that the flags ask for.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	settings := map[string]string{"shared_buffers": rig.QuarterOfMemory()}
	if flags.Smoke {
		settings = map[string]string{"shared_buffers": "128MB", "min_wal_size": "128MB"}
	}
	maps.Copy(settings, b.Postgres)
	b.site = rig.OpenSite(ctx, flags, settings)
	defer b.site.Close()
	if !b.ListIndexes {
		b.site.Server.DropListIndexes(ctx)
	}
	for _, items := range b.Items {
		b.comparison(ctx, b.publish(ctx, items, b.Partitions))
	}
	if b.Schema {
		orders := b.publish(ctx, b.Items[0], b.Partitions)
		b.table(ctx, "ingest-schema", ofItems(orders)+", raw COPY into changed tables", orders, schemaContenders())
	}
	if b.Versions {
		b.versions(ctx, b.publish(ctx, b.Items[0], b.Partitions))
	}
	if len(b.Workers) > 0 {
		b.scaling(ctx, b.publish(ctx, b.Items[0], scalingPartitions))
	}
	if b.Preload > 0 {
		b.preloaded(ctx, b.publish(ctx, b.Items[0], b.Partitions))
	}
}

// publish makes the orders to measure, in a broker of their own, whose memory ends with
// it.
func (b *Benchmark) publish(ctx context.Context, items, partitions int) *rig.Orders {
	b.site.RenewBroker(ctx)
	return b.site.MakeOrders(ctx, rig.OrdersOptions{
		Topic: "orders", Partitions: partitions, Count: b.Orders, Items: items, Seed: ordersSeed, BatchSize: b.Batch,
	})
}

// trial gives a measurement a database of its own.
func (b *Benchmark) trial(ctx context.Context, orders *rig.Orders, use func(context.Context, *trial)) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	database, drop := b.site.Server.Fresh(ctx)
	defer drop()
	b.runs++
	use(ctx, &trial{Benchmark: b, orders: orders, database: database, group: fmt.Sprintf("bench-%d", b.runs), stored: b.stored})
}

func (b *Benchmark) run(ctx context.Context, c contender, orders *rig.Orders) (u rig.Use) {
	b.trial(ctx, orders, func(ctx context.Context, t *trial) { u = c.run(ctx, t) })
	return u
}

func (b *Benchmark) rounds(ctx context.Context, orders *rig.Orders, contenders []contender) samples {
	var all []rig.Contender[rig.Use]
	for _, c := range contenders {
		all = append(all, rig.Contender[rig.Use]{Name: c.name, Run: func(ctx context.Context) rig.Use { return b.run(ctx, c, orders) }})
	}
	return rig.Measure(ctx, b.Rounds, all, func(u rig.Use) string {
		return fmt.Sprintf("%8.0f orders/s   database %5.1f µs, client %5.1f µs an order", u.Rate(), u.DatabaseCost(), u.ClientCost())
	})
}

// comparison is the main table: worker, COPY and single transactions. The first
// one is followed by the latency of single orders.
func (b *Benchmark) comparison(ctx context.Context, orders *rig.Orders) {
	rig.Progress("warming up: files of WAL and of tables that later runs use again")
	b.run(ctx, rawCopy, orders)
	contenders := []contender{rawCopy, copyTriggers, worker, lookingUp, unmarshal}
	if b.Compare != "" {
		contenders = append(contenders, otherBuild)
	}
	if b.Single > 0 {
		contenders = append(contenders, single, singlePair)
	}
	measured := b.rounds(ctx, orders, contenders)
	title := fmt.Sprintf("%s, %d partitions, %d bytes a record", ofItems(orders), b.Partitions, orders.Bytes/int64(orders.Count))
	b.site.Save(fmt.Sprintf("ingest-%d", orders.Items), comparisonTable(title, contenders, measured)+"\n"+goals(measured))
	if b.empty != nil {
		return
	}
	b.empty = measured
	if b.Latency > 0 {
		rig.Progress("timing %d single orders", b.Latency)
		b.trial(ctx, orders, func(ctx context.Context, t *trial) { b.site.Save("ingest-latency", latencyTable(t.latency(ctx))) })
	}
}

// versions is the table of orders that records replace.
func (b *Benchmark) versions(ctx context.Context, orders *rig.Orders) {
	const topic = "versions"
	replaced := versions(topic, b.site.PublishVersions(ctx, orders, topic, b.Partitions))
	contenders := []contender{rawCopy, worker, newest, replaced}
	measured := b.rounds(ctx, orders, contenders)
	b.site.Save("ingest-versions", comparisonTable(ofItems(orders)+", some of which records replace", contenders, measured)+fmt.Sprintf(
		"\n- new orders with %s: %.2f × the worker's rate without it (goal: at least 0.97)\n- with every fifth record a newer version: %.2f × raw COPY's rate (goal: at least 0.50)\n",
		onConflict, measured.Ratio(newest.name, worker.name, rig.Use.Rate), measured.Ratio(replaced.name, rawCopy.name, rig.Use.Rate)))
}

func (b *Benchmark) scaling(ctx context.Context, orders *rig.Orders) {
	contenders := []contender{rawCopy}
	for _, n := range b.Workers {
		contenders = append(contenders, contender{count(n, "worker"), runWorkers(n)})
	}
	b.table(ctx, "ingest-scaling", fmt.Sprintf("%s, %d partitions", ofItems(orders), scalingPartitions), orders, contenders)
}

func (b *Benchmark) table(ctx context.Context, section, title string, orders *rig.Orders, contenders []contender) {
	b.site.Save(section, comparisonTable(title, contenders, b.rounds(ctx, orders, contenders)))
}

// preloaded is the first table again, with orders stored already.
func (b *Benchmark) preloaded(ctx context.Context, orders *rig.Orders) {
	b.site.Store(ctx, b.Preload, orders.Items, nil)
	b.stored = b.Preload
	warming := b.site.MakeOrders(ctx, rig.OrdersOptions{
		Topic: "warming", Partitions: 1, Count: orders.Count, Items: orders.Items, Seed: warmSeed, BatchSize: b.Batch,
	})
	cold, hot := []contender{rawCopy, worker}, []contender{warm(rawCopy, warming), warm(worker, warming)}
	measured := b.rounds(ctx, orders, append(cold, hot...))
	if b.ListIndexes {
		b.site.Server.DropListIndexes(ctx)
		maps.Copy(measured, b.rounds(ctx, orders, []contender{unlisted, warm(unlisted, warming)}))
		cold, hot = append(cold, unlisted), append(hot, warm(unlisted, warming))
	}
	title := fmt.Sprintf("%s into tables with %s already", ofItems(orders), count(b.stored, "order"))
	b.site.Save("ingest-preloaded", comparisonTable(title+", right after a checkpoint, buffers cold", cold, measured)+"\n"+
		comparisonTable(title+", warm", hot, measured)+"\n"+preloadedLines(b.empty, measured))
}

func ofItems(orders *rig.Orders) string {
	return count(orders.Count, "order") + " of " + count(orders.Items, "item")
}
