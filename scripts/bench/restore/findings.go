package main

import (
	"fmt"

	"github.com/orderhub/orderhub/scripts/bench/internal/report"
)

const (
	goalTime = 1.5
	// The goals of memory: so many times the orders' JSON, without compression plus
	// so many bytes an order.
	goalPlain, goalBeside, goalZstd = 1.15, 40, 0.35
)

func (s sample) seconds() float64      { return s.took.Seconds() }
func (s sample) microseconds() float64 { return s.cpu.Seconds() * 1e6 / float64(s.orders) }
func (s sample) databaseCost() float64 { return s.database.Seconds() * 1e6 / float64(s.orders) }

// goalOf is the memory that a reader may take.
func goalOf(compression string, jsonBytes, orders int64) float64 {
	if compression == "off" {
		return goalPlain*float64(jsonBytes) + goalBeside*float64(orders)
	}
	return goalZstd * float64(jsonBytes)
}

func columns() []report.Column[sample] {
	mebibytes := func(bytes func(sample) int64) func(sample) float64 {
		return func(s sample) float64 { return float64(bytes(s)) / (1 << 20) }
	}
	timesJSON := func(bytes func(sample) int64) func(sample) float64 {
		return func(s sample) float64 { return float64(bytes(s)) / float64(s.jsonBytes) }
	}
	memory, peak := func(s sample) int64 { return s.memory }, func(s sample) int64 { return s.peak }
	return []report.Column[sample]{
		{Name: "seconds", Figure: sample.seconds, Format: report.Decimals(2)},
		{Name: "× COPY OUT", Figure: sample.seconds, Format: report.Decimals(2), Ratio: true},
		{Name: "database µs/order", Figure: sample.databaseCost, Format: report.Decimals(1)},
		{Name: "client µs/order", Figure: sample.microseconds, Format: report.Decimals(1)},
		{Name: "MiB at ready", Figure: mebibytes(memory), Format: report.Decimals(0)},
		{Name: "× JSON", Figure: timesJSON(memory), Format: report.Decimals(3)},
		{Name: "B/order", Figure: func(s sample) float64 { return float64(s.memory) / float64(s.orders) }, Format: report.Decimals(0)},
		{Name: "peak MiB", Figure: mebibytes(peak), Format: report.Decimals(0)},
		{Name: "× JSON", Figure: timesJSON(peak), Format: report.Decimals(3)},
	}
}

func (f findings) markdown(s *settings) string {
	first := f.samples[compressions[0]][0]
	title := fmt.Sprintf("%d orders of %d bytes as JSON on average", s.Orders, first.jsonBytes/first.orders)
	rows := []report.Row[sample]{{Name: "COPY OUT of the four tables", Samples: f.samples[copyOut], Base: f.samples[copyOut]}}
	text := fmt.Sprintf("- time: %.2f × COPY OUT (goal: at most %.1f)\n", report.RatioOf(f.samples["off"], f.samples[copyOut], sample.seconds), goalTime)
	for _, compression := range compressions {
		rows = append(rows, report.Row[sample]{Name: "read-api, CACHE_COMPRESSION=" + compression, Samples: f.samples[compression], Base: f.samples[copyOut]})
		text += f.line(s, compression)
	}
	return report.Compare(title, columns(), rows) + "\n" + text
}

// line says how far the goal of memory is, and what was changed.
func (f findings) line(s *settings, compression string) string {
	goal := fmt.Sprintf("%.2f × JSON", goalZstd)
	if compression == "off" {
		goal = fmt.Sprintf("%.2f × JSON and %d bytes an order", goalPlain, goalBeside)
	}
	text := fmt.Sprintf("- memory, %s: %.2f × the goal (%s) at ready", compression, report.MedianOf(f.samples[compression], func(r sample) float64 {
		return float64(r.memory) / goalOf(compression, r.jsonBytes, r.orders)
	}), goal)
	if c, ok := f.churn[compression]; ok {
		text += fmt.Sprintf(", %.2f × after %d changes in %v (%d updates, %d deletes, %d inserts), %d MiB or %.3f × JSON; at most %d MiB meanwhile",
			float64(c.memory)/goalOf(compression, c.stats.JSONBytes, c.stats.Orders), c.sum(), s.Churn, c.updates, c.deletes, c.inserts,
			c.memory>>20, float64(c.memory)/float64(c.stats.JSONBytes), c.peak>>20)
	}
	return text + "\n"
}
