// Package peers measures Orderhub beside what people would use instead, into the same
// tables on the same machine: how fast each is, and what it does with broken records,
// when it is killed, and when its database is lost.
package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Orders      int           `default:"100000" smoke:"500" help:"Orders in the topic, and in memory."`
	Items       int           `default:"3" help:"Items of an order."`
	Partitions  int           `default:"4" help:"Partitions of the topic."`
	Rounds      int           `default:"3" smoke:"1" help:"How often each measurement is made; the table has medians."`
	Records     int           `default:"20000" smoke:"500" help:"Records of a topic of which each program has to give account (0: none)."`
	Patience    time.Duration `default:"75s" help:"A program that does nothing for so long has stopped. Longer than the sessions of groups."`
	Duration    time.Duration `default:"5s" smoke:"1s" help:"Length of a measurement of reading, whole seconds."`
	Connections int           `default:"64" smoke:"8" help:"Connections of wrk."`
	Others      bool          `default:"true" smoke:"false" help:"Measure Benthos and Kafka Connect too, which are fetched by Go and Maven."`
	Only        string        `help:"Measure only contenders with this in their names."`

	site *rig.Site
	runs int
}

// contender gets the orders of a topic into tables.
type contender struct {
	name    string
	foreign bool     // not ours: it does without our triggers, and knows no content_hash
	flat    bool     // it fills the table flat instead of the four
	members int      // of its group; 0: 1
	group   string   // what its group's name begins with
	prepare []string // statements, before
	daemon  func(t *trial) *process.Daemon
}

// trial is a contender's database and topic.
type trial struct {
	*Benchmark
	topic, dlq, group, name string // name: without what the group's begins with
	database                string // fresh
}

// Measure makes all tables and plots.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	b.site = rig.OpenSite(ctx, flags, map[string]string{"shared_buffers": "1GB"})
	defer b.site.Close()
	contenders, missing := b.contenders(ctx)
	orders := b.site.MakeOrders(ctx, rig.OrdersOptions{Topic: "orders", Partitions: b.Partitions, Count: b.Orders, Items: b.Items, Seed: 1})
	b.ingest(ctx, contenders, missing, orders)
	if b.Records > 0 {
		b.guarantees(ctx, contenders, missing)
	}
	b.read(ctx)
}

// contenders are those that can be had, and lines about the others.
func (b *Benchmark) contenders(ctx context.Context) (all []contender, missing string) {
	all = append(all, worker)
	for _, other := range []struct {
		name string
		get  func(context.Context) []contender
	}{
		{"Benthos", b.benthos}, {"Kafka Connect", b.connect},
	} {
		err := errors.New("--others=false")
		if b.Others {
			err = must.Cause(func() { all = append(all, other.get(ctx)...) })
		}
		if err != nil {
			line := fmt.Sprintf("NOT MEASURED: %s: %s", other.name, strings.Join(strings.Fields(err.Error()), " "))
			rig.Progress("%s", line)
			missing += "- " + line + "\n"
		}
	}
	all = slices.DeleteFunc(append(all, byHand), func(c contender) bool { return !strings.Contains(c.name, b.Only) })
	return all, missing
}

var worker = contender{name: "ingest-worker", daemon: func(t *trial) *process.Daemon {
	return t.site.Worker(t.topic, t.database, "KAFKA_DLQ_TOPIC="+t.dlq, "KAFKA_GROUP="+t.group).Daemon
}}

const trialTimeout = 10 * time.Minute

// trial gives a contender a database, a group and a topic of dead letters of its own.
func (b *Benchmark) trial(ctx context.Context, c contender, topic string, use func(context.Context, *trial)) {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	database, drop := b.site.Server.Fresh(ctx)
	defer drop()
	b.runs++
	t := &trial{Benchmark: b, topic: topic, name: fmt.Sprintf("peer-%d", b.runs), database: database}
	t.group, t.dlq = c.group+t.name, t.name+".dlq"
	b.site.Broker.CreateTopic(ctx, t.dlq, 1, "delete")
	var statements []string
	if c.foreign { // they would stamp each of its rows, which costs more than all the rest
		for _, table := range orderdb.Tables {
			statements = append(statements, "ALTER TABLE "+table.Name+" DISABLE TRIGGER USER")
		}
	}
	must.Succeed(postgres.Execute(ctx, database, append(statements, c.prepare...)...))
	use(ctx, t)
}

// rows are counted to see how far the contender is. The last rows of an order are its items.
func (c contender) rows() (table string, ofOrder func(items int) int) {
	if c.flat {
		return "flat", func(int) int { return 1 }
	}
	return "items", func(items int) int { return items }
}

// ingest makes the table of rates. The clock starts when a contender is a member of its
// group, and stops when all rows are there.
func (b *Benchmark) ingest(ctx context.Context, contenders []contender, missing string, orders *rig.Orders) {
	var all []rig.Contender[rig.Use]
	var names []string
	for _, c := range contenders {
		names = append(names, c.name)
		all = append(all, rig.Contender[rig.Use]{Name: c.name, Run: func(ctx context.Context) (u rig.Use) {
			b.trial(ctx, c, orders.Topic, func(ctx context.Context, t *trial) { u = t.drain(ctx, c, orders) })
			return u
		}})
	}
	measured := rig.Measure(ctx, b.Rounds, all, func(u rig.Use) string {
		return fmt.Sprintf("%8.0f orders/s   database %5.1f µs, client %5.1f µs an order", u.Rate(), u.DatabaseCost(), u.ClientCost())
	})
	title := fmt.Sprintf("%s orders of %d items, %d partitions", report.Thousands(b.Orders), b.Items, b.Partitions)
	columns := []report.Column[rig.Use]{
		{Name: "orders/s", Figure: rig.Use.Rate, Format: report.Thousands[float64]},
		{Name: "× ingest-worker", Figure: rig.Use.Rate, Format: report.Decimals(2), Ratio: true},
		{Name: "program's CPU µs/order", Figure: rig.Use.ClientCost, Format: report.Decimals(1)},
		{Name: "database's CPU µs/order", Figure: rig.Use.DatabaseCost, Format: report.Decimals(1)},
		{Name: "WAL B/order", Figure: func(u rig.Use) float64 { return float64(u.WAL) / float64(u.Times) }, Format: report.Thousands[float64]},
		{Name: "peak MiB", Figure: rig.Use.PeakMiB, Format: report.Decimals(0)},
	}
	b.site.Save("peers-ingest", measured.Table(title, columns, names...)+"\n"+missing+
		b.plot("peers-ingest.svg", "Orders a second, from Kafka into the tables", names, func(name string) float64 { return measured.Median(name, rig.Use.Rate) }))
}

const joinTimeout = time.Minute

// drain measures a contender from its first record to its last.
func (t *trial) drain(ctx context.Context, c contender, orders *rig.Orders) (u rig.Use) {
	program := c.daemon(t)
	defer func() { must.Succeed(program.Kill()) }()
	joining, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	t.site.Hold(joining, t.group, max(1, c.members), func() { must.Succeed(program.Start()) })
	ctx, ended := context.WithCancel(ctx)
	defer ended()
	go func() { <-program.Process().Done(); ended() }()
	table, ofOrder := c.rows()
	err := must.Try(func() {
		u = rig.Meter{Site: t.site, Programs: []int{program.Pid()}}.During(ctx, orders.Count, func() {
			t.site.Release()
			rig.AwaitRows(ctx, t.database, table, orders.Count*ofOrder(orders.Items))
		})
	})
	if err != nil {
		must.Succeed(errors.Join(program.Alive(), err, fmt.Errorf("%s: %s", c.name, program.Tail())))
	}
	return u
}

// plot writes a plot beside the document, where there is one, and returns the line that
// shows it.
func (b *Benchmark) plot(file, title string, names []string, figure func(string) float64) string {
	if b.site.Document == "" {
		return ""
	}
	figures := make([]float64, len(names))
	for i, name := range names {
		figures[i] = figure(name)
	}
	must.Succeed(os.WriteFile(filepath.Join(filepath.Dir(b.site.Document), file), []byte(report.Bars(title, names, figures)), 0o644))
	return fmt.Sprintf("\n![%s](%s)\n", title, file)
}
