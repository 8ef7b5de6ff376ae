package peers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// ordeal is what a program has to go through.
type ordeal struct {
	name, topic string
	// strike is done when the program has stored a tenth of the orders; nil is nothing.
	strike func(context.Context, *trial, *process.Daemon)
	ends   int // so often it ends the program
}

const mixedTopic, plainTopic = "mixed", "plain"

// databaseAway is for how long the database is lost.
const databaseAway = 5 * time.Second

var ordeals = []ordeal{
	{"broken, repeated and conflicting records", mixedTopic, nil, 0},
	{"killed (SIGKILL)", plainTopic, func(_ context.Context, _ *trial, program *process.Daemon) {
		must.Succeed(program.Signal(syscall.SIGKILL))
	}, 1},
	{"database lost for 5 s", plainTopic, func(ctx context.Context, t *trial, _ *process.Daemon) {
		must.Succeed(t.site.Server.Kill())
		must.Succeed(retry.Sleep(ctx, databaseAway))
		must.Succeed(t.site.Server.Restart(ctx))
	}, 0},
}

// guarantees makes the table of what became of the records, by the ledger's account.
func (b *Benchmark) guarantees(ctx context.Context, contenders []contender, missing string) {
	b.site.RenewBroker(ctx)
	expected := map[string]*ledger.Expected{}
	b.site.Broker.CreateTopic(ctx, mixedTopic, b.Partitions, "delete")
	client := must.Get(ledger.Client([]string{b.site.Broker.Addr}))
	must.Succeed(ledger.NewLoad(client, rand.New(rand.NewPCG(1, 1)), mixedTopic, b.Partitions, "mixed-").Send(ctx, b.Records))
	client.Close()
	b.site.MakeOrders(ctx, rig.OrdersOptions{Topic: plainTopic, Partitions: b.Partitions, Count: b.Records, Items: 1, Seed: 2})
	for _, topic := range []string{mixedTopic, plainTopic} {
		expected[topic] = must.Get(ledger.Expect(ctx, []string{b.site.Broker.Addr}, topic))
	}
	table := report.Table{Title: fmt.Sprintf("What becomes of %s records", report.Thousands(b.Records)), Columns: []string{""}}
	for _, o := range ordeals {
		table.Columns = append(table.Columns, o.name)
	}
	for _, c := range contenders {
		cells := []string{c.name}
		for _, o := range ordeals {
			b.trial(ctx, c, o.topic, func(ctx context.Context, t *trial) { cells = append(cells, t.undergo(ctx, c, o, expected[o.topic])) })
			rig.Progress("%-34s %s: %s", c.name, o.name, cells[len(cells)-1])
		}
		table.Add(cells...)
	}
	m := expected[mixedTopic]
	b.site.Save("peers-guarantees", table.Markdown()+fmt.Sprintf("\n- the mixed topic: %s\n", m)+missing)
}

// undergo returns the verdict. A program that ends by itself is started again, as any
// supervisor does.
func (t *trial) undergo(ctx context.Context, c contender, o ordeal, e *ledger.Expected) string {
	program := c.daemon(t)
	must.Succeed(program.Start())
	watching, stop := context.WithCancel(ctx)
	restarts := make(chan int, 1)
	go func() { restarts <- keepRunning(watching, program) }()
	end := sync.OnceValue(func() int {
		stop()
		n := <-restarts
		must.Succeed(program.Kill())
		return n
	})
	defer end()
	table, _ := c.rows()
	struck := 0 // so many orders were stored by then (each has one item)
	began := time.Now()
	if o.strike != nil {
		waiting, cancel := context.WithTimeout(ctx, t.Patience)
		defer cancel()
		if err := must.Try(func() { rig.AwaitRows(waiting, t.database, table, len(e.Orders)/10) }); err != nil {
			return "stores less than a tenth in " + t.Patience.String()
		}
		struck = rig.Query[int](ctx, t.database, "SELECT count(*) FROM "+table)[0]
		began = time.Now()
		o.strike(ctx, t, program)
	}
	t.settle(ctx, table)
	took := time.Since(began)
	restarted := end()
	if c.flat {
		must.Succeed(postgres.Execute(ctx, t.database, spread("SELECT * FROM flat")))
	}
	f := must.Get(ledger.Account(ctx, ledger.World{
		Brokers: []string{t.site.Broker.Addr}, Topic: t.topic, DLQ: t.dlq, Group: t.group, Database: t.database, Foreign: c.foreign,
	}, e))
	text := verdict(f, e)
	if f.OffsetsAtEnds && o.strike != nil {
		text += fmt.Sprintf("; %.0f s from %s stored to all", took.Seconds(), report.Thousands(struck))
	}
	if restarted > o.ends {
		text += fmt.Sprintf("; ended by itself %d times", restarted-o.ends)
	}
	return text
}

// keepRunning starts a program again whenever it has ended, and returns how often it did.
func keepRunning(ctx context.Context, program *process.Daemon) (restarts int) {
	for {
		select {
		case <-ctx.Done():
			return restarts
		case <-program.Process().Done():
		}
		if retry.Sleep(ctx, time.Second) != nil || program.Kill() != nil || program.Start() != nil {
			return restarts
		}
		restarts++
	}
}

// settle returns when the group has committed all records, or nothing has happened for a
// long time.
func (t *trial) settle(ctx context.Context, table string) {
	progress := must.Get(ledger.NewProgress([]string{t.site.Broker.Addr}, t.topic, t.group))
	defer progress.Close()
	ends := must.Get(progress.Ends(ctx))
	for last, since := "", time.Now(); time.Since(since) < t.Patience; {
		committed := must.Get(progress.Committed(ctx))
		if committed.Reach(ends) {
			return
		}
		now := fmt.Sprint(committed, rig.Query[int](ctx, t.database, "SELECT count(*) FROM "+table))
		if now != last {
			last, since = now, time.Now()
		}
		must.Succeed(retry.Sleep(ctx, 100*time.Millisecond))
	}
}

// verdict says what the ledger found, in few words. What a program that stops has not got
// to is still in Kafka.
func verdict(f *ledger.Findings, e *ledger.Expected) string {
	var all []string
	say := func(n int, format string, args ...any) {
		if n > 0 {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	if f.OffsetsAtEnds {
		letters := 0
		for _, n := range f.LostLetters {
			letters += n
		}
		conflicts := f.LostLetters[deadletter.ReasonConflict]
		say(f.Lost-letters, "%d of %d orders lost", f.Lost-letters, len(e.Orders))
		say(letters-conflicts, "%d of %d broken records lost without a trace", letters-conflicts, e.Broken)
		say(conflicts, "%d of %d conflicts lost without a trace", conflicts, e.Conflicts)
	} else {
		var done, records int64
		for partition, end := range f.Ends {
			done, records = done+f.Committed[partition], records+end
		}
		all = append(all, fmt.Sprintf("stops at %s of %s records", report.Thousands(done), report.Thousands(records)))
	}
	say(f.Wrong, "%d of %d orders not as first sent", f.Wrong, len(e.Orders))
	say(f.Extra, "%d too many", f.Extra)
	if all == nil {
		return "exact"
	}
	return strings.Join(all, ", ")
}
