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

// goalOf is the memory that a reader may take.
func goalOf(compression string, jsonBytes, orders int64) float64 {
	if compression == "off" {
		return goalPlain*float64(jsonBytes) + goalBeside*float64(orders)
	}
	return goalZstd * float64(jsonBytes)
}

var columns = []report.Column[sample]{
	{Name: "seconds", Figure: sample.Seconds, Format: report.Decimals(2)},
	{Name: "× COPY OUT", Figure: sample.Seconds, Format: report.Decimals(2), Ratio: true},
	{Name: "database µs/order", Figure: sample.DatabaseCost, Format: report.Decimals(1)},
	{Name: "client µs/order", Figure: sample.ClientCost, Format: report.Decimals(1)},
	{Name: "MiB at ready", Figure: func(s sample) float64 { return float64(s.memory) / (1 << 20) }, Format: report.Decimals(0)},
	{Name: "× JSON", Figure: func(s sample) float64 { return float64(s.memory) / float64(s.jsonBytes) }, Format: report.Decimals(3)},
	{Name: "B/order", Figure: func(s sample) float64 { return float64(s.memory) / float64(s.Times) }, Format: report.Decimals(0)},
	{Name: "peak MiB", Figure: sample.PeakMiB, Format: report.Decimals(0)},
	{Name: "× JSON", Figure: func(s sample) float64 { return float64(s.Peak) / float64(s.jsonBytes) }, Format: report.Decimals(3)},
}

func (f findings) markdown(s *settings) string {
	off, zstd := readerWith("off"), readerWith("zstd")
	title := fmt.Sprintf("%d orders of %d bytes as JSON on average", s.Orders, f.samples[off][0].jsonBytes/int64(s.Orders))
	return f.samples.Table(title, columns, copyOut, off, zstd) +
		fmt.Sprintf("\n- time: %.2f × COPY OUT (goal: at most %.1f)\n", f.samples.Ratio(off, copyOut, sample.Seconds), goalTime) +
		f.line(s, "off", fmt.Sprintf("%.2f × JSON and %d bytes an order", goalPlain, goalBeside)) +
		f.line(s, "zstd", fmt.Sprintf("%.2f × JSON", goalZstd))
}

// line says how far the goal of memory is, and what was changed.
func (f findings) line(s *settings, compression, goal string) string {
	text := fmt.Sprintf("- memory, %s: %.2f × the goal (%s) at ready", compression, f.samples.Median(readerWith(compression), func(r sample) float64 {
		return float64(r.memory) / goalOf(compression, r.jsonBytes, int64(r.Times))
	}), goal)
	if c, ok := f.churn[compression]; ok {
		text += fmt.Sprintf(", %.2f × after %d changes in %v (%d updates, %d deletes, %d inserts), %d MiB or %.3f × JSON; at most %d MiB meanwhile",
			float64(c.memory)/goalOf(compression, c.stats.JSONBytes, c.stats.Orders), c.Sum(), s.Churn, c.Updates, c.Deletes, c.Inserts,
			c.memory>>20, float64(c.memory)/float64(c.stats.JSONBytes), c.peak>>20)
	}
	return text + "\n"
}
