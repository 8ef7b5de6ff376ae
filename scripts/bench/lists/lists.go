// Package lists measures how fast lists come from memory, beside the same lists from
// PostgreSQL, over HTTP: every single filter and sort, and combinations, rare values among
// them.
package lists

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Orders      int           `default:"100000" smoke:"2000" help:"Orders in memory, and in the tables."`
	Items       int           `default:"1" help:"Items of an order."`
	Rounds      int           `default:"3" smoke:"1" help:"How often each list is measured; the table has medians."`
	Duration    time.Duration `default:"2s" smoke:"1s" help:"Length of a measurement, whole seconds."`
	Connections int           `default:"64" smoke:"8" help:"Connections of wrk."`

	site     *rig.Site
	reader   *rig.Reader
	database string
}

// The goals: the rate, × that of PostgreSQL, which was the only way before; and the 99th
// percentile where nothing else is asked meanwhile.
const (
	rateGoal = 10
	p99Goal  = 2 // ms
)

// asked is how many different requests for a list wrk chooses from.
const asked = 5000

// rareOrders is how many orders have the rare delivery service, currency and brand.
const rareOrders = 10

// sample is what a list's requests found.
type sample struct {
	memory, database rig.Answered // the database's is zero where it has no such list
	alone            rig.Answered // from memory, over one connection
	found            found
}

// found is how many orders a list has on average: up to 20, or fewer where it ends, or has been
// ended since as much was looked at as a request may cost.
type found struct{ memory, database float64 }

func (s sample) orders() float64         { return s.found.memory }
func (s sample) databaseOrders() float64 { return s.found.database }

func (s sample) rate() float64     { return s.memory.Rate() }
func (s sample) p99() float64      { return s.memory.P99Millis() }
func (s sample) aloneP99() float64 { return s.alone.P99Millis() }

// ratio is that of orders found in a second, or of lists where memory finds none, either.
func (s sample) ratio() float64 {
	ratio := s.memory.Rate() / s.databaseRate()
	if s.found.memory > 0 {
		ratio *= s.found.memory / s.found.database // infinite where the database finds none
	}
	return ratio
}

func times(ratio float64) string {
	if math.IsInf(ratio, 1) || ratio >= 1000 {
		return "1,000 or more"
	}
	return report.Decimals(1)(ratio)
}

func (s sample) databaseRate() float64 {
	if s.database.Requests == 0 {
		return math.NaN()
	}
	return s.database.Rate()
}

var columns = []report.Column[sample]{
	{Name: "orders a list", Figure: sample.orders, Format: report.Decimals(1)},
	{Name: "lists/s", Figure: sample.rate, Format: report.Thousands[float64]},
	{Name: "p99 ms", Figure: sample.p99, Format: report.Decimals(2)},
	{Name: "one connection: p99 ms", Figure: sample.aloneP99, Format: report.Decimals(2)},
	{Name: "PostgreSQL: orders a list", Figure: sample.databaseOrders, Format: report.Decimals(1)},
	{Name: "lists/s", Figure: sample.databaseRate, Format: report.Thousands[float64]},
	{Name: "×", Figure: sample.ratio, Format: times},
}

// goals names the lists that miss one.
func goals(measured report.Samples[sample]) string {
	var slow, slower []string
	for _, l := range lists {
		if measured.Median(l.name, sample.aloneP99) > p99Goal {
			slow = append(slow, l.name)
		}
		if measured.Median(l.name, sample.ratio) < rateGoal {
			slower = append(slower, l.name)
		}
	}
	return fmt.Sprintf("- p99 over one connection of at most %d ms: missed by %d of %d lists%s\n- at least %d × the rate at which PostgreSQL finds orders, which has no sorts but newest first: missed by %d%s\n",
		p99Goal, len(slow), len(lists), named(slow), rateGoal, len(slower), named(slower))
}

func named(lists []string) string {
	if len(lists) == 0 {
		return ""
	}
	return ": " + strings.Join(lists, "; ")
}

// Measure makes the table.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	b.site = rig.OpenSite(ctx, flags, nil)
	defer b.site.Close()
	b.prepare(ctx)
	all, one := b.site.NewWrk(2, b.Connections), b.site.NewWrk(1, 1)
	values := b.values(ctx)
	single := rig.Target{Name: singleName, Addr: b.reader.Addr, Pid: b.reader.Pid(), Requests: b.site.ChooseRequests(ctx, b.database, asked).Hits}
	contenders := []rig.Contender[sample]{{Name: singleName, Run: func(ctx context.Context) (s sample) {
		s.memory = all.Run(ctx, single, b.Duration)
		s.alone = one.Run(ctx, single, b.Duration)
		return s
	}}}
	for i, l := range lists {
		t := rig.Target{Name: l.name, Addr: b.reader.Addr, Pid: b.reader.Pid(), Requests: filepath.Join(b.site.Folder, fmt.Sprint("list-", i))}
		var paths []string
		for _, o := range values.orders {
			paths = append(paths, "/api/v1/orders?limit=20&"+l.query(o, values).Encode())
		}
		must.Succeed(os.WriteFile(t.Requests, []byte(strings.Join(paths, "\n")), 0o600))
		found := b.compare(ctx, l, paths[:min(compared, len(paths))])
		stored := t
		stored.Name, stored.Headers = t.Name+", from PostgreSQL", []string{"Cache-Control: no-cache"}
		contenders = append(contenders, rig.Contender[sample]{Name: l.name, Run: func(ctx context.Context) (s sample) {
			s.found = found
			all.Run(ctx, t, time.Second) // a warm-up, which does not count
			s.memory = all.Run(ctx, t, b.Duration)
			if !sorted(l) {
				s.database = all.Run(ctx, stored, b.Duration)
			}
			s.alone = one.Run(ctx, t, b.Duration)
			return s
		}})
	}
	measured := rig.Measure(ctx, b.Rounds, contenders, func(s sample) string {
		return fmt.Sprintf("%8.0f lists/s   from PostgreSQL %8.0f   alone p99 %6.2f ms", s.rate(), s.databaseRate(), s.aloneP99())
	})
	names := []string{singleName}
	for _, l := range lists {
		names = append(names, l.name)
	}
	title := fmt.Sprintf("%s orders of %d items, lists of 20, %d connections", report.Thousands(b.Orders), b.Items, b.Connections)
	b.site.Save(fmt.Sprintf("lists-%d", b.Orders), measured.Table(title, columns, names...)+"\n"+goals(measured))
}

const singleName = "(no list: single orders)"

// compared is how many of a list's requests are sent once to both.
const compared = 50

// compare sends requests to both, and counts the orders in their answers. These are the same, but
// that one may end before the other.
func (b *Benchmark) compare(ctx context.Context, l list, paths []string) (f found) {
	for _, path := range paths {
		memory := b.page(ctx, path, "")
		f.memory += float64(len(memory)) / float64(len(paths))
		if sorted(l) {
			continue
		}
		database := b.page(ctx, path, "no-cache")
		f.database += float64(len(database)) / float64(len(paths))
		for i := range min(len(memory), len(database)) {
			if !bytes.Equal(memory[i], database[i]) {
				must.Succeed(fmt.Errorf("%s: memory has %s, and PostgreSQL %s", path, memory[i], database[i]))
			}
		}
	}
	return f
}

func (b *Benchmark) page(ctx context.Context, path, cacheControl string) []json.RawMessage {
	answer := must.Get(httpget.Do(ctx, http.DefaultClient, "http://"+b.reader.Addr+path, map[string]string{"Cache-Control": cacheControl}))
	var page struct {
		Orders []json.RawMessage `json:"orders"`
	}
	must.Succeed(json.Unmarshal(answer.Body, &page))
	if page.Orders == nil {
		must.Succeed(fmt.Errorf("%s answers %d: %s", path, answer.Status, answer.Body))
	}
	return page.Orders
}

// prepare stores the orders and starts a reader of them. Half of the orders are one customer's.
func (b *Benchmark) prepare(ctx context.Context) {
	n := 0
	b.site.Store(ctx, b.Orders, b.Items, func(o *model.Order) {
		if n++; n%2 == 0 {
			o.CustomerID = common
		}
	})
	b.database, _ = b.site.Server.Fresh(ctx)
	must.Succeed(postgres.Execute(ctx, b.site.Server.Superuser(b.database),
		fmt.Sprintf("CREATE TEMPORARY TABLE rare AS SELECT order_uid FROM orders %s LIMIT %d", b.sampled(), rareOrders),
		"UPDATE orders SET delivery_service = '"+rare+"' WHERE order_uid IN (SELECT order_uid FROM rare)",
		"UPDATE payments SET currency = '"+rareCurrency+"' WHERE order_uid IN (SELECT order_uid FROM rare)",
		"UPDATE items SET brand = '"+rare+"' WHERE order_uid IN (SELECT order_uid FROM rare)"))
	b.reader = b.site.StartReader(ctx, b.database)
	b.reader.AwaitLists(ctx)
}

// sampled has a table give as many rows at random as lists are asked for, or all.
func (b *Benchmark) sampled() string {
	return fmt.Sprintf("TABLESAMPLE BERNOULLI (%g)", min(100, 120*asked/float64(b.Orders)))
}

// order has what lists ask for of an order that is there.
type order struct {
	Customer, Track, Locale, Service string
	Created, Updated                 time.Time
	Email, Phone, Name, Currency     string
	Amount                           int64
	NmID, Status                     int64
	Brand                            string
}

// values are orders at random, with amounts that few orders exceed, or stay below.
type values struct {
	orders    []order
	high, low int64
}

func (b *Benchmark) values(ctx context.Context) values {
	conn := must.Get(pgx.Connect(ctx, b.database))
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows := must.Get(conn.Query(ctx, `SELECT o.customer_id, o.track_number, o.locale, o.delivery_service, o.date_created, coalesce(o.updated_at, o.stored_at),
		d.email, d.phone, d.name, p.currency, p.amount, i.nm_id, i.status, i.brand
		FROM orders AS o `+b.sampled()+` JOIN deliveries AS d USING (order_uid) JOIN payments AS p USING (order_uid) JOIN items AS i USING (order_uid)
		WHERE i.position = 0 ORDER BY random() LIMIT $1`, asked))
	v := values{orders: must.Get(pgx.CollectRows(rows, pgx.RowToStructByPos[order]))}
	amounts := rig.Query[int64](ctx, b.database, `SELECT unnest(percentile_disc(ARRAY[0.9999, 0.0001]) WITHIN GROUP (ORDER BY amount)) FROM payments`)
	v.high, v.low = amounts[0], amounts[1]
	return v
}
