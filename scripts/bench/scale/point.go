package main

import (
	"context"
	_ "embed" // for the SQL
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/bench/internal/wrk"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// point is what was measured with so many orders.
type point struct {
	orders  int
	ingest  float64 // orders/s of the worker, in the step's last slice
	reader  reader
	lists   []list
	tables  int64 // bytes, without indexes
	indexes int64 // bytes
}

// reader is what one read-api showed.
type reader struct {
	restore      time.Duration
	memory, peak int64   // resident when ready, and at most until then
	bytes        int64   // what it says that orders and index take
	cached       int64   // orders in memory
	reads        float64 // requests/s, of orders at random
	p99          float64 // ms
}

// measure stores the last slice by the worker and then reads everything.
func (b *runner) measure(ctx context.Context, database string, orders, slice int) (p point, err error) {
	p.orders = orders
	if p.ingest, err = b.ingest(ctx, database, slice); err != nil {
		return p, err
	}
	program.Progress("%d orders: the worker stored the last %d at %.0f/s", orders, slice, p.ingest)
	sizes, err := rig.Query(ctx, database, pgx.RowTo[int64], sizesQuery)
	if err != nil {
		return p, err
	}
	p.tables, p.indexes = sizes[0], sizes[1]
	p.reader, p.lists, err = b.read(ctx, database, orders)
	return p, err
}

// ingest has the worker store new orders right after a checkpoint, and returns how
// many a second it stores.
func (b *runner) ingest(ctx context.Context, database string, count int) (rate float64, err error) {
	b.slices++
	topic := fmt.Sprintf("slice-%d", b.slices)
	if _, err := b.site.MakeOrders(ctx, rig.OrdersOptions{
		Topic: topic, Partitions: b.settings.Partitions, Count: count, Items: b.settings.Items, Seed: 1 + b.slices,
	}); err != nil {
		return 0, err
	}
	if err := postgres.Execute(ctx, b.site.Server.Superuser(database), "CHECKPOINT"); err != nil {
		return 0, err
	}
	workers, err := b.site.HoldWorkers(ctx, 1, topic, topic, database)
	if err != nil {
		return 0, err
	}
	defer rig.StopAll(workers)
	began := time.Now()
	err = b.site.Drain(ctx, workers, count)
	return float64(count) / time.Since(began).Seconds(), err
}

// sizesQuery gives the bytes of tables and of indexes. It counts partitions with
// their table, and leaves out the originals that Fill copies.
const sizesQuery = `WITH stored AS (SELECT oid FROM pg_class
	WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ '^(orders|deliveries|payments|items)')
	SELECT sum(pg_table_size(oid))::bigint FROM stored UNION ALL SELECT sum(pg_indexes_size(oid))::bigint FROM stored`

// read starts a reader and measures it. All orders must be in memory, unless
// settings say otherwise.
func (b *runner) read(ctx context.Context, database string, orders int, settings ...string) (r reader, lists []list, err error) {
	started, err := b.site.StartReader(ctx, database, settings...)
	if err != nil {
		return r, nil, err
	}
	defer func() { err = errors.Join(err, started.Stop()) }()
	held, err := started.Stats(ctx)
	if err != nil {
		return r, nil, err
	}
	r = reader{restore: started.Restore, memory: started.Memory, peak: started.Peak, bytes: held.Bytes, cached: held.Orders}
	if r.cached != int64(orders) && len(settings) == 0 {
		return r, nil, fmt.Errorf("the reader has %d orders of %d", r.cached, orders)
	}
	requests, err := wrk.Choose(ctx, database, b.site.Folder, 100_000)
	if err != nil {
		return r, nil, err
	}
	load, err := b.wrk.Run(ctx, started.Addr, requests.Hits, b.settings.Reads)
	if err != nil {
		return r, nil, err
	}
	r.reads, r.p99 = load.Rate(), float64(load.P99)/1000
	program.Progress("%d orders: restored in %v, %d MiB (%d at most); %.0f reads/s", orders, r.restore.Round(time.Millisecond), r.memory>>20, r.peak>>20, r.reads)
	lists, err = b.timeLists(ctx, started)
	return r, lists, err
}

// list is how long reading one took.
type list struct {
	name  string
	times []time.Duration
}

// timeLists reads the first page of several lists, in turn. All but the newest
// have other filters each time, so that none is answered from memory.
func (b *runner) timeLists(ctx context.Context, from *rig.Reader) ([]list, error) {
	lists := []list{{name: "newest"}, {name: "a customer's"}, {name: "a currency and amounts"}, {name: "a rare value and a wide range"}}
	for n := range b.settings.Lists {
		o := b.orders.Sample[n%len(b.orders.Sample)]
		for i, query := range []url.Values{
			{},
			{"customer_id": {o.CustomerID}},
			{"currency": {o.Payment.Currency}, "amount_min": {fmt.Sprint(n)}, "amount_max": {fmt.Sprint(o.Payment.Amount + int64(n))}},
			{"delivery_service": {"nobody"}, "amount_min": {fmt.Sprint(n)}, "created_from": {"2000-01-01T00:00:00Z"}},
		} {
			var page json.RawMessage
			began := time.Now()
			if err := from.GetJSON(ctx, "/api/v1/orders?"+query.Encode(), &page); err != nil {
				return nil, fmt.Errorf("list %s: %w", lists[i].name, err)
			}
			lists[i].times = append(lists[i].times, time.Since(began))
		}
	}
	return lists, nil
}

var (
	//go:embed partition.sql
	partitionSQL string
	//go:embed shards.sql
	shardsSQL string
)

// shards is how many partitions, and shards, the SQL makes.
const shards = 8

// addressOfShard is the DATABASE_URL of a reader of one shard.
func addressOfShard(database string, number int) string {
	u, err := url.Parse(database)
	if err != nil {
		panic("the server's own address: " + err.Error())
	}
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
func (b *runner) tryAll(ctx context.Context) (report.Samples[point], error) {
	tries := report.Samples[point]{}
	for round := range b.settings.Rounds {
		program.Progress("round %d of %d", round+1, b.settings.Rounds)
		for i := range 2 {
			if err := b.tryTables(ctx, tries, []string{plain, hashPartitions}[(round+i)%2]); err != nil {
				return nil, err
			}
		}
	}
	return tries, nil
}

// tryTables fills a database, partitioned or not, and measures it, and then other
// readers of it.
func (b *runner) tryTables(ctx context.Context, tries report.Samples[point], which string) error {
	database, drop, err := b.site.Server.Fresh(ctx)
	if err != nil {
		return err
	}
	defer drop()
	if which == hashPartitions {
		if err := postgres.Execute(ctx, database, partitionSQL); err != nil {
			return err
		}
	}
	orders := b.settings.Small
	slice := b.sliceOf(orders)
	if err := rig.NewFill(b.orders, b.site.Server.Superuser(database)).To(ctx, orders-slice); err != nil {
		return err
	}
	p, err := b.measure(ctx, database, orders, slice)
	if err != nil {
		return fmt.Errorf("%s: %w", which, err)
	}
	tries[which] = append(tries[which], p)
	if which == plain {
		return errors.Join(
			b.tryReader(ctx, tries, compressed, database, orders, "CACHE_COMPRESSION=zstd"),
			b.tryReader(ctx, tries, budget, database, orders, fmt.Sprint("CACHE_BYTES=", p.reader.bytes/budgetShare)))
	}
	if err := postgres.Execute(ctx, database, shardsSQL); err != nil {
		return err
	}
	shard := addressOfShard(database, 0)
	counts, err := rig.Query(ctx, shard, pgx.RowTo[int], "SELECT count(*) FROM orders")
	if err != nil {
		return err
	}
	return b.tryReader(ctx, tries, oneShard, shard, counts[0])
}

// tryReader measures a reader alone.
func (b *runner) tryReader(ctx context.Context, tries report.Samples[point], name, database string, orders int, settings ...string) error {
	r, _, err := b.read(ctx, database, orders, settings...)
	tries[name] = append(tries[name], point{orders: orders, reader: r})
	return err
}
