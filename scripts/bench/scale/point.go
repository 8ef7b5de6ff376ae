package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/bench/internal/wrk"
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
	if p.tables, p.indexes, err = sizes(ctx, database); err != nil {
		return p, err
	}
	err = b.withReader(ctx, database, orders, func(api string, r reader) error {
		p.reader = r
		p.lists, err = b.timeLists(ctx, api)
		return err
	})
	return p, err
}

// ingest has the worker store orders that nobody has, and returns how many a
// second that were. Before that everything is flushed, as in the other
// benchmarks.
func (b *runner) ingest(ctx context.Context, database string, count int) (rate float64, err error) {
	b.slices++
	topic := fmt.Sprintf("slice-%d", b.slices)
	if _, err := b.site.MakeOrders(ctx, rig.OrdersOptions{
		Topic: topic, Partitions: b.settings.Partitions, Count: count, Items: b.settings.Items, Seed: 1 + b.slices,
	}); err != nil {
		return 0, err
	}
	if err := rig.Execute(ctx, b.site.Server.Superuser(database), "CHECKPOINT"); err != nil {
		return 0, err
	}
	if err := b.site.Broker.Hold(); err != nil {
		return 0, err
	}
	worker, err := b.site.StartWorker(ctx, topic, database)
	if err != nil {
		return 0, errors.Join(err, b.site.Broker.Release())
	}
	defer func() { err = errors.Join(err, worker.Stop()) }()
	joined, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.site.Broker.WaitMembers(joined, topic, 1); err != nil {
		return 0, errors.Join(err, b.site.Broker.Release())
	}
	began := time.Now()
	if err := b.site.Broker.Release(); err != nil {
		return 0, err
	}
	if err := rig.WaitStored(ctx, []*rig.Service{worker}, count); err != nil {
		return 0, err
	}
	return float64(count) / time.Since(began).Seconds(), nil
}

// sizesQuery counts partitions with their table, and leaves out what Fill sets
// aside.
const sizesQuery = `SELECT sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint FROM pg_class
	WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ '^(orders|deliveries|payments|items)'`

func sizes(ctx context.Context, database string) (tables, indexes int64, err error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, sizesQuery).Scan(&tables, &indexes)
	return tables, indexes, err
}

// withReader starts a reader, measures it, and gives its API's address to use
// while it runs. All orders must be in memory, or some must not fit.
func (b *runner) withReader(ctx context.Context, database string, orders int, use func(api string, r reader) error, environment ...string) (err error) {
	started, err := b.site.StartReader(ctx, database, environment...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, started.Stop()) }()
	r := reader{restore: started.Restore, memory: started.Memory, peak: started.Peak}
	metrics, err := started.Metrics(ctx)
	if err != nil {
		return err
	}
	r.bytes, r.cached = int64(metrics[rig.MetricCacheBytes]), int64(metrics[rig.MetricCached])
	if r.cached != int64(orders) && len(environment) == 0 {
		return fmt.Errorf("the reader has %d orders of %d", r.cached, orders)
	}
	folder, err := os.MkdirTemp(b.site.Folder, "requests-")
	if err != nil {
		return err
	}
	requests, err := wrk.Choose(ctx, database, started.Addr, folder, 100_000)
	if err != nil {
		return err
	}
	load, err := b.wrk.Run(ctx, started.Addr, requests.Hits, b.settings.Reads)
	if err != nil {
		return err
	}
	r.reads, r.p99 = load.Rate(), float64(load.P99)/1000
	program.Progress("%d orders: restored in %v, %d MiB (%d at most); %.0f reads/s", orders, r.restore.Round(time.Millisecond), r.memory>>20, r.peak>>20, r.reads)
	return use(started.Addr, r)
}

// list is how long reading one took.
type list struct {
	name  string
	times []time.Duration
}

// timeLists reads the first page of several lists, in turn. All but the newest
// are other lists each time, so that none is answered from what was kept of it.
func (b *runner) timeLists(ctx context.Context, api string) ([]list, error) {
	lists := []list{{name: "newest"}, {name: "a customer's"}, {name: "a currency and amounts"}, {name: "a rare value and a wide range"}}
	for n := range b.settings.Lists {
		o := b.orders.Sample[n%len(b.orders.Sample)]
		for i, query := range []url.Values{
			{},
			{"customer_id": {o.CustomerID}},
			{"currency": {o.Payment.Currency}, "amount_min": {fmt.Sprint(n)}, "amount_max": {fmt.Sprint(o.Payment.Amount + int64(n))}},
			{"delivery_service": {"nobody"}, "amount_min": {fmt.Sprint(n)}, "created_from": {"2000-01-01T00:00:00Z"}},
		} {
			var page struct {
				Orders []json.RawMessage `json:"orders"`
			}
			began := time.Now()
			if err := rig.GetJSON(ctx, "http://"+api+"/api/v1/orders?"+query.Encode(), &page); err != nil {
				return nil, fmt.Errorf("list %s: %w", lists[i].name, err)
			}
			lists[i].times = append(lists[i].times, time.Since(began))
		}
	}
	return lists, nil
}
