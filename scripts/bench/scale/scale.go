// Package scale fills a database with orders and measures, while they become
// more, what changes with their number: the worker's rate, the reader's restore,
// memory and rate, lists, and the sizes of tables and indexes. Then it tries at a
// small scale what would be done for still more orders.
package scale

import (
	"context"
	_ "embed" // for the SQL
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Orders     int           `default:"10000000" smoke:"3000" help:"Orders in the end."`
	Steps      []int         `smoke:"1000,3000" help:"Numbers of orders to measure at (default: 1, 3, 10, 30 and 100 % of --orders)."`
	Items      int           `default:"1" help:"Items of an order."`
	Slice      int           `default:"100000" help:"Orders of each step that the worker stores, at most a fifth of the step; the others are copied."`
	Partitions int           `default:"4" help:"Partitions of the topic."`
	Reads      time.Duration `default:"5s" smoke:"1s" help:"How long orders are read at each step."`
	Lists      int           `default:"200" smoke:"3" help:"How often each list is read at each step."`
	Small      int           `default:"500000" smoke:"1500" help:"Orders with which the next steps are tried (0: they are not)."`
	Rounds     int           `default:"2" smoke:"1" help:"How often each of these is tried; the table has medians."`

	site      *rig.Site
	templates *rig.Orders
	wrk       *rig.Wrk
	slices    int // made so far
}

// originals is how many orders are made; the others are copies of them under
// other uids.
const originals = 50_000

// serverSettings are settings of the server. They bound the WAL's share of the disk.
var serverSettings = map[string]string{"max_wal_size": "8GB", "min_wal_size": "1GB"}

// Measure makes the tables.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	if len(b.Steps) == 0 {
		for _, percent := range []int{1, 3, 10, 30, 100} {
			b.Steps = append(b.Steps, b.Orders*percent/100)
		}
	}
	if !slices.IsSorted(b.Steps) {
		must.Succeed(errors.New("--steps must rise"))
	}
	b.site = rig.OpenSite(ctx, flags, serverSettings)
	defer b.site.Close()
	b.wrk = b.site.NewWrk(2, 64)
	b.templates = b.site.MakeOrders(ctx, rig.OrdersOptions{Topic: "stored", Partitions: 1, Count: min(originals, b.Steps[0]/2), Items: b.Items, Seed: 1})
	points := b.grow(ctx)
	b.site.Save("scale", charts(points)+growthTables(b.Items, points))
	if b.Small > 0 {
		tries := b.tryAll(ctx)
		b.site.Save("scale-small", triesTable(b.Small, tries))
		b.site.Save("scale-further", furtherTable(points[len(points)-1], tries))
	}
}

func (b *Benchmark) grow(ctx context.Context) (points []point) {
	database, drop := b.site.Server.Fresh(ctx)
	defer drop()
	filling := rig.NewFill(b.templates, b.site.Server.Superuser(database))
	sliced := 0
	for _, orders := range b.Steps {
		slice := b.sliceOf(orders)
		rig.Progress("filling up to %d orders", orders-slice)
		filling.To(ctx, orders-slice-sliced)
		sliced += slice
		points = append(points, b.measure(ctx, database, orders, slice))
	}
	return points
}

func (b *Benchmark) sliceOf(orders int) int { return max(1, min(b.Slice, orders/5)) }

var (
	//go:embed partition.sql
	partitionSQL string
	//go:embed shards.sql
	shardsSQL string
)

// shards is how many partitions, and shards, the SQL makes.
const shards = 8

func addressOfShard(database string, number int) string {
	u := must.Get(url.Parse(database))
	query := u.Query()
	query.Set("search_path", fmt.Sprintf("shard_%d,public", number))
	u.RawQuery = query.Encode()
	return u.String()
}

// budgetShare: a reader with a byte budget may take one of so many parts of what all
// orders take.
const budgetShare = 4

// What is tried so that readers and tables hold more orders.
const (
	plain          = "as it is"
	hashPartitions = "8 hash partitions"
	compressed     = "reader, CACHE_COMPRESSION=zstd"
	budget         = "reader, CACHE_BYTES for a quarter"
	oneShard       = "reader of 1 of 8 shards"
)

// tryAll measures, with few orders, what would be done for very many, each time
// next to the tables and the reader as they are.
func (b *Benchmark) tryAll(ctx context.Context) report.Samples[point] {
	tries := report.Samples[point]{}
	for round := range b.Rounds {
		rig.Progress("round %d of %d", round+1, b.Rounds)
		for i := range 2 {
			b.tryTables(ctx, tries, []string{plain, hashPartitions}[(round+i)%2])
		}
	}
	return tries
}

// tryTables fills a database, partitioned or not, and measures it, and then other
// readers of it.
func (b *Benchmark) tryTables(ctx context.Context, tries report.Samples[point], which string) {
	database, drop := b.site.Server.Fresh(ctx)
	defer drop()
	if which == hashPartitions {
		must.Succeed(postgres.Execute(ctx, database, partitionSQL))
	}
	slice := b.sliceOf(b.Small)
	rig.NewFill(b.templates, b.site.Server.Superuser(database)).To(ctx, b.Small-slice)
	p := b.measure(ctx, database, b.Small, slice)
	tries[which] = append(tries[which], p)
	if which == plain {
		b.tryReader(ctx, tries, compressed, database, b.Small, "CACHE_COMPRESSION=zstd")
		b.tryReader(ctx, tries, budget, database, b.Small, fmt.Sprint("CACHE_BYTES=", p.reader.bytes/budgetShare))
		return
	}
	must.Succeed(postgres.Execute(ctx, database, shardsSQL))
	shard := addressOfShard(database, 0)
	b.tryReader(ctx, tries, oneShard, shard, rig.Query[int](ctx, shard, "SELECT count(*) FROM orders")[0])
}

func (b *Benchmark) tryReader(ctx context.Context, tries report.Samples[point], name, database string, orders int, settings ...string) {
	r, _ := b.read(ctx, database, orders, settings...)
	tries[name] = append(tries[name], point{orders: orders, reader: r})
}
