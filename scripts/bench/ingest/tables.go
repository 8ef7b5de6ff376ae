package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/stats"
)

// comparisonTable has a row for each contender, with medians of its rounds. The
// first is what the ratios are to.
func comparisonTable(title string, names []string, measured samples) *report.Table {
	t := &report.Table{Title: title, Columns: []string{
		"", "orders/s", "× raw COPY", "database µs/order", "× raw COPY", "client µs/order", "broker µs/order",
		"cores busy", "orders/commit", "WAL B/order", "peak MiB", "allocs/order",
	}}
	base := measured[names[0]]
	for _, name := range names {
		m := measured[name]
		median := func(get func(sample) float64) float64 { return stats.MedianOf(m, get) }
		t.Add(name,
			report.Thousands(median(sample.rate)),
			decimal(2, stats.RatioOf(m, base, sample.rate)),
			decimal(1, median(sample.databaseCost)),
			decimal(2, stats.RatioOf(m, base, sample.databaseCost)),
			decimal(1, median(sample.clientCost)),
			unlessZero(1, median(sample.brokerCost)),
			decimal(2, median(sample.cores)),
			report.Thousands(median(sample.batch)),
			report.Thousands(median(sample.walCost)),
			unlessZero(0, median(sample.peakMiB)),
			unlessZero(0, median(sample.allocCost)),
		)
	}
	return t
}

// goals are the figures that the worker is measured by.
func goals(measured samples) string {
	w, raw := measured[worker.name], measured[rawCopy.name]
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	line("rate: %s × raw COPY without triggers (goal: at least 0.70)", decimal(2, stats.RatioOf(w, raw, sample.rate)))
	line("the database's CPU an order: %s × raw COPY's (goal: at most 1.15)", decimal(2, stats.RatioOf(w, raw, sample.databaseCost)))
	line("the worker's CPU: %s × the database's (goal: at most 0.40)",
		decimal(2, stats.MedianOf(w, func(s sample) float64 { return s.client.Seconds() / s.database.Seconds() })))
	line("the worker's peak memory: %s MiB (goal: at most 300)", decimal(0, stats.MedianOf(w, sample.peakMiB)))
	if s := measured[single.name]; len(s) > 0 {
		line("rate: %s × a transaction an order on 1 connection (goal: at least 20), %s × on 2; raw COPY is %s × and %s ×",
			decimal(0, stats.RatioOf(w, s, sample.rate)), decimal(0, stats.RatioOf(w, measured[singlePair.name], sample.rate)),
			decimal(0, stats.RatioOf(raw, s, sample.rate)), decimal(0, stats.RatioOf(raw, measured[singlePair.name], sample.rate)))
	}
	return b.String()
}

func preloadedLines(empty, full samples) string {
	var b strings.Builder
	rate := func(m []sample) float64 { return stats.MedianOf(m, sample.rate) }
	for _, c := range []contender{worker, rawCopy} {
		goal := ""
		if c.name == worker.name {
			goal = " (goal: at least 0.85)"
		}
		fmt.Fprintf(&b, "- %s: %s × its rate into empty tables%s, %s × right after a checkpoint, with cold buffers\n", c.name,
			decimal(2, rate(full[c.name+warmSuffix])/rate(empty[c.name])), goal, decimal(2, rate(full[c.name])/rate(empty[c.name])))
	}
	return b.String()
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
		ms := func(share float64) string { return milliseconds(stats.Percentile(row.values, share)) }
		t.Add(row.name, ms(0.5), ms(0.99), ms(1))
	}
	over := stats.Percentile(l.committed, 0.99) - stats.Percentile(l.inserted, 0.99)
	return t.Markdown() + fmt.Sprintf("\n- p99 of produced → committed: %s ms over that of a bare commit (goal: at most 10)\n", milliseconds(over))
}

func decimal(digits int, value float64) string { return strconv.FormatFloat(value, 'f', digits, 64) }

// unlessZero leaves the cell empty where there is nothing to tell.
func unlessZero(digits int, value float64) string {
	if value == 0 {
		return ""
	}
	return decimal(digits, value)
}

func milliseconds(d time.Duration) string { return decimal(2, d.Seconds()*1000) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return report.Thousands(float64(n)) + " " + what + "s"
}
