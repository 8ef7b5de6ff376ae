package main

import (
	"fmt"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/report"
)

// columns of the comparison. Ratios are to the first row.
var columns = []report.Column[sample]{
	{Name: "orders/s", Figure: sample.rate, Format: report.Thousands[float64]},
	{Name: "× raw COPY", Figure: sample.rate, Format: report.Decimals(2), Ratio: true},
	{Name: "database µs/order", Figure: sample.databaseCost, Format: report.Decimals(1)},
	{Name: "× raw COPY", Figure: sample.databaseCost, Format: report.Decimals(2), Ratio: true},
	{Name: "client µs/order", Figure: sample.clientCost, Format: report.Decimals(1)},
	{Name: "broker µs/order", Figure: sample.brokerCost, Format: report.Decimals(1)},
	{Name: "cores busy", Figure: sample.cores, Format: report.Decimals(2)},
	{Name: "orders/commit", Figure: sample.batch, Format: report.Thousands[float64]},
	{Name: "WAL B/order", Figure: sample.walCost, Format: report.Thousands[float64]},
	{Name: "peak MiB", Figure: sample.peakMiB, Format: report.Decimals(0)},
	{Name: "allocs/order", Figure: sample.allocCost, Format: report.Decimals(0)},
}

// comparisonTable has a row for each contender.
func comparisonTable(title string, contenders []contender, measured samples) string {
	var rows []report.Row[sample]
	for _, c := range contenders {
		rows = append(rows, report.Row[sample]{Name: c.name, Samples: measured[c.name], Base: measured[contenders[0].name]})
	}
	return report.Compare(title, columns, rows)
}

// goals are the figures that the worker is measured by.
func goals(measured samples) string {
	w, raw := measured[worker.name], measured[rawCopy.name]
	text := fmt.Sprintf("- rate: %.2f × raw COPY without triggers (goal: at least 0.70)\n"+
		"- the database's CPU an order: %.2f × raw COPY's (goal: at most 1.15)\n"+
		"- the worker's CPU: %.2f × the database's (goal: at most 0.40)\n"+
		"- the worker's peak memory: %.0f MiB (goal: at most 300)\n",
		report.RatioOf(w, raw, sample.rate), report.RatioOf(w, raw, sample.databaseCost),
		report.MedianOf(w, func(s sample) float64 { return s.client.Seconds() / s.database.Seconds() }), report.MedianOf(w, sample.peakMiB))
	if one, two := measured[single.name], measured[singlePair.name]; len(one) > 0 {
		text += fmt.Sprintf("- rate: %.0f × a transaction an order on 1 connection (goal: at least 20), %.0f × on 2; raw COPY is %.0f × and %.0f ×\n",
			report.RatioOf(w, one, sample.rate), report.RatioOf(w, two, sample.rate),
			report.RatioOf(raw, one, sample.rate), report.RatioOf(raw, two, sample.rate))
	}
	return text
}

func preloadedLines(empty, full samples) string {
	text := ""
	rate := func(m []sample) float64 { return report.MedianOf(m, sample.rate) }
	for _, c := range []contender{worker, rawCopy} {
		goal := ""
		if c.name == worker.name {
			goal = " (goal: at least 0.85)"
		}
		text += fmt.Sprintf("- %s: %.2f × its rate into empty tables%s, %.2f × right after a checkpoint, with cold buffers\n", c.name,
			rate(full[c.name+warmSuffix])/rate(empty[c.name]), goal, rate(full[c.name])/rate(empty[c.name]))
	}
	return text
}

func latencyTable(l latencies) string {
	t := report.Table{
		Title:   fmt.Sprintf("%s through an idle worker, one at a time", count(len(l.committed), "order")),
		Columns: []string{"ms", "p50", "p99", "max"},
	}
	for _, row := range []struct {
		name   string
		values []time.Duration
	}{
		{"produced (acks=all)", l.produced},
		{"produced → committed, by SELECT", l.committed},
		{"a bare one-row INSERT and commit", l.inserted},
	} {
		ms := func(share float64) string { return milliseconds(report.Percentile(row.values, share)) }
		t.Add(row.name, ms(0.5), ms(0.99), ms(1))
	}
	over := report.Percentile(l.committed, 0.99) - report.Percentile(l.inserted, 0.99)
	return t.Markdown() + fmt.Sprintf("\n- p99 of produced → committed: %s ms over that of a bare commit (goal: at most 10)\n", milliseconds(over))
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return report.Thousands(float64(n)) + " " + what + "s"
}
