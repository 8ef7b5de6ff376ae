package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// latencies are how long single orders took, one at a time.
type latencies struct {
	produced  []time.Duration // from sending to the broker's acknowledgement (acks=all)
	committed []time.Duration // from sending until the order could be selected
	inserted  []time.Duration // a bare one-row INSERT with its commit, in between
}

func (t *trial) latency(ctx context.Context) (l latencies) {
	const topic = "latency"
	t.site.Broker.CreateTopic(ctx, topic, t.Partitions, "delete")
	producer := t.site.Broker.NewProducer(topic, 0)
	defer producer.Close()
	conn := must.Get(pgx.Connect(ctx, t.database))
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	must.Get(conn.Exec(ctx, "CREATE TABLE bench_single (id bigint); LISTEN "+orderdb.NotifyChannel))
	defer t.site.StartWorker(ctx, topic, t.database, "KAFKA_GROUP="+t.group).Stop()
	rig.Singly(ctx, min(t.Latency, len(t.orders.Values)-rig.WarmUp), func(i int, counts bool) {
		uid := t.orders.Sample[i].OrderUID
		began := time.Now()
		must.Succeed(producer.ProduceSync(ctx, &kgo.Record{Key: []byte(uid), Value: t.orders.Values[i]}).FirstErr())
		produced := time.Since(began)
		waitCommitted(ctx, conn, uid)
		committed := time.Since(began)
		must.Succeed(retry.Sleep(ctx, rig.Pause(i)))
		began = time.Now()
		must.Get(conn.Exec(ctx, "INSERT INTO bench_single VALUES ($1)", i))
		if counts {
			l.produced, l.committed, l.inserted = append(l.produced, produced), append(l.committed, committed), append(l.inserted, time.Since(began))
		}
	})
	return l
}

// waitCommitted returns once an order can be selected. Until then it waits for
// notifications, so that it keeps no core busy that the worker needs.
func waitCommitted(ctx context.Context, conn *pgx.Conn, uid string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var stored bool
		must.Succeed(conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM orders WHERE order_uid = $1)", uid).Scan(&stored))
		if stored {
			return
		}
		const unnotified = 5 * time.Millisecond
		waiting, stop := context.WithTimeout(ctx, unnotified)
		_, err := conn.WaitForNotification(waiting)
		stop()
		if waiting.Err() == nil {
			must.Succeed(err)
		}
	}
}

// samples are the measurements of each contender, one a round.
type samples = report.Samples[rig.Use]

// columns of the comparison. Ratios are to the first row.
var columns = []report.Column[rig.Use]{
	{Name: "orders/s", Figure: rig.Use.Rate, Format: report.Thousands[float64]},
	{Name: "× raw COPY", Figure: rig.Use.Rate, Format: report.Decimals(2), Ratio: true},
	{Name: "database µs/order", Figure: rig.Use.DatabaseCost, Format: report.Decimals(1)},
	{Name: "× raw COPY", Figure: rig.Use.DatabaseCost, Format: report.Decimals(2), Ratio: true},
	{Name: "client µs/order", Figure: rig.Use.ClientCost, Format: report.Decimals(1)},
	{Name: "broker µs/order", Figure: rig.Use.BrokerCost, Format: report.Decimals(1)},
	{Name: "cores busy", Figure: rig.Use.Cores, Format: report.Decimals(2)},
	{Name: "orders/commit", Figure: func(u rig.Use) float64 { return float64(u.Times) / float64(max(1, u.Commits)) }, Format: report.Thousands[float64]},
	{Name: "WAL B/order", Figure: func(u rig.Use) float64 { return float64(u.WAL) / float64(u.Times) }, Format: report.Thousands[float64]},
	{Name: "peak MiB", Figure: rig.Use.PeakMiB, Format: report.Decimals(0)},
	{Name: "allocs/order", Figure: func(u rig.Use) float64 { return u.Allocs / float64(u.Times) }, Format: report.Decimals(0)},
}

func comparisonTable(title string, contenders []contender, measured samples) string {
	var names []string
	for _, c := range contenders {
		names = append(names, c.name)
	}
	return measured.Table(title, columns, names...)
}

func goals(measured samples) string {
	text := fmt.Sprintf("- rate: %.2f × raw COPY without triggers (goal: at least 1.15), %.2f × where foreign keys are looked up (goal: at least 0.85)\n"+
		"- the database's CPU an order: %.2f × raw COPY's (goal: at most 1.15)\n"+
		"- the worker's CPU an order: %.2f × encoding/json.Unmarshal's (goal: at most 1.10)\n"+
		"- the worker's peak memory: %.0f MiB (goal: at most 300)\n",
		measured.Ratio(worker.name, rawCopy.name, rig.Use.Rate), measured.Ratio(lookingUp.name, rawCopy.name, rig.Use.Rate),
		measured.Ratio(worker.name, rawCopy.name, rig.Use.DatabaseCost),
		measured.Ratio(worker.name, unmarshal.name, rig.Use.ClientCost), measured.Median(worker.name, rig.Use.PeakMiB))
	if len(measured[single.name]) > 0 {
		times := func(of, to contender) float64 { return measured.Ratio(of.name, to.name, rig.Use.Rate) }
		text += fmt.Sprintf("- rate: %.0f × a transaction an order on 1 connection (goal: at least 20), %.0f × on 2; raw COPY is %.0f × and %.0f ×\n",
			times(worker, single), times(worker, singlePair), times(rawCopy, single), times(rawCopy, singlePair))
	}
	return text + waitsLines(measured, worker, rawCopy)
}

// waitsLines say what the database's processes did while contenders ran.
func waitsLines(measured samples, contenders ...contender) (text string) {
	for _, c := range contenders {
		text += fmt.Sprintf("- what the database's processes did under %s, in samples each 50 ms: %s\n", c.name, measured[c.name][0].Waits)
	}
	return text
}

func preloadedLines(empty, full samples) string {
	text := ""
	for _, c := range []contender{worker, rawCopy} {
		goal, rate := "", empty.Median(c.name, rig.Use.Rate)
		if c.name == worker.name {
			goal = " (goal: at least 0.85)"
		}
		text += fmt.Sprintf("- %s: %.2f × its rate into empty tables%s, %.2f × right after a checkpoint, with cold buffers\n", c.name,
			full.Median(c.name+warmSuffix, rig.Use.Rate)/rate, goal, full.Median(c.name, rig.Use.Rate)/rate)
	}
	if len(full[unlisted.name]) > 0 {
		ratio := func(suffix string) float64 {
			return full.Median(unlisted.name+suffix, rig.Use.Rate) / full.Median(worker.name+suffix, rig.Use.Rate)
		}
		text += fmt.Sprintf("- without the indexes of lists: %.2f × its rate with them right after a checkpoint, %.2f × warm\n", ratio(""), ratio(warmSuffix))
	}
	return text + waitsLines(full, worker, rawCopy)
}

func latencyTable(l latencies) string {
	t := report.Table{
		Title:   fmt.Sprintf("%s through an idle worker, one at a time", count(len(l.committed), "order")),
		Columns: []string{"ms", "p50", "p99", "max"},
	}
	add := func(name string, of []time.Duration) { t.Add(append([]string{name}, report.Latencies(of, 2)...)...) }
	add("produced (acks=all)", l.produced)
	add("produced → committed, by SELECT", l.committed)
	add("a bare one-row INSERT and commit", l.inserted)
	over := report.Percentile(l.committed, 0.99) - report.Percentile(l.inserted, 0.99)
	return t.Markdown() + fmt.Sprintf("\n- p99 of produced → committed: %s ms over that of a bare commit (goal: at most 10)\n", report.Milliseconds(over, 2))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return report.Thousands(float64(n)) + " " + what + "s"
}
