package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

type point struct {
	orders  int
	ingest  float64 // orders/s of the worker, in the step's last slice
	reader  reader
	lists   []list
	tables  int64 // bytes, without indexes
	indexes int64 // bytes
}

type reader struct {
	restore      time.Duration
	memory, peak int64   // resident when ready, and at most until then
	bytes        int64   // what it says that orders and index take
	cached       int64   // orders in memory
	reads        float64 // requests/s, of orders at random
	p99          float64 // ms
}

// measure stores the last slice by the worker and then reads everything.
func (b *Benchmark) measure(ctx context.Context, database string, orders, slice int) (p point) {
	p.orders = orders
	p.ingest = b.ingest(ctx, database, slice)
	rig.Progress("%d orders: the worker stored the last %d at %.0f/s", orders, slice, p.ingest)
	bytes := rig.Query[int64](ctx, database, sizesQuery)
	p.tables, p.indexes = bytes[0], bytes[1]
	p.reader, p.lists = b.read(ctx, database, orders)
	return p
}

// ingest has the worker store new orders right after a checkpoint, and returns how
// many a second it stores.
func (b *Benchmark) ingest(ctx context.Context, database string, count int) (rate float64) {
	b.slices++
	topic := fmt.Sprintf("slice-%d", b.slices)
	b.site.MakeOrders(ctx, rig.OrdersOptions{Topic: topic, Partitions: b.Partitions, Count: count, Items: b.Items, Seed: 1 + b.slices})
	must.Succeed(postgres.Execute(ctx, b.site.Server.Superuser(database), "CHECKPOINT"))
	workers := b.site.HoldWorkers(ctx, 1, topic, topic, database)
	defer rig.StopAll(workers)
	began := time.Now()
	b.site.Drain(ctx, workers, count)
	return float64(count) / time.Since(began).Seconds()
}

// sizesQuery gives the bytes of tables and of indexes. It counts partitions with
// their table, and leaves out the originals that Fill copies.
const sizesQuery = `WITH stored AS (SELECT oid FROM pg_class
	WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ '^(orders|deliveries|payments|items)')
	SELECT sum(pg_table_size(oid))::bigint FROM stored UNION ALL SELECT sum(pg_indexes_size(oid))::bigint FROM stored`

// read starts a reader and measures it. All orders must be in memory, unless
// settings say otherwise.
func (b *Benchmark) read(ctx context.Context, database string, orders int, settings ...string) (reader, []list) {
	started := b.site.StartReader(ctx, database, settings...)
	defer started.Stop()
	held := started.Stats(ctx)
	if held.Orders != int64(orders) && len(settings) == 0 {
		must.Succeed(fmt.Errorf("the reader has %d orders of %d", held.Orders, orders))
	}
	if held.Orders == int64(orders) {
		started.AwaitLists(ctx)
	}
	load := b.wrk.Run(ctx, rig.Target{Addr: started.Addr, Pid: started.Pid(), Requests: b.site.ChooseRequests(ctx, database, 100_000).Hits}, b.Reads)
	r := reader{
		restore: started.Restore, memory: started.Memory, peak: started.Peak, bytes: held.Bytes, cached: held.Orders,
		reads: load.Rate(), p99: load.P99Millis(),
	}
	rig.Progress("%d orders: restored in %v, %d MiB (%d at most); %.0f reads/s", orders, r.restore.Round(time.Millisecond), r.memory>>20, r.peak>>20, r.reads)
	return r, b.timeLists(ctx, started)
}

type list struct {
	name  string
	times []time.Duration
}

// timeLists reads the first page of several lists, in turn.
func (b *Benchmark) timeLists(ctx context.Context, from *rig.Reader) []list {
	lists := []list{{name: "newest"}, {name: "a customer's"}, {name: "a currency and amounts"}, {name: "a rare value and a wide range"}}
	for n := range b.Lists {
		o := b.templates.Sample[n%len(b.templates.Sample)]
		for i, query := range []url.Values{
			{},
			{"customer_id": {o.CustomerID}},
			{"currency": {o.Payment.Currency}, "amount_min": {fmt.Sprint(n)}, "amount_max": {fmt.Sprint(o.Payment.Amount + int64(n))}},
			{"delivery_service": {"nobody"}, "amount_min": {fmt.Sprint(n)}, "created_from": {"2000-01-01T00:00:00Z"}},
		} {
			var page json.RawMessage
			began := time.Now()
			must.Succeed(from.GetJSON(ctx, "/api/v1/orders?"+query.Encode(), &page))
			lists[i].times = append(lists[i].times, time.Since(began))
		}
	}
	return lists
}
