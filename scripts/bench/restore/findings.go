package main

import (
	"fmt"
	"strings"

	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/stats"
)

const (
	goalTime = 1.5
	// The goals of memory: so many times the orders' JSON, and so many bytes an
	// order beside.
	goalPlain, goalBeside, goalZstd = 1.15, 40, 0.35
)

func (s sample) seconds() float64      { return s.took.Seconds() }
func (s sample) mebibytes() float64    { return float64(s.memory) / (1 << 20) }
func (s sample) peakMiB() float64      { return float64(s.peak) / (1 << 20) }
func (s sample) timesJSON() float64    { return float64(s.memory) / float64(s.jsonBytes) }
func (s sample) peakJSON() float64     { return float64(s.peak) / float64(s.jsonBytes) }
func (s sample) orderBytes() float64   { return float64(s.memory) / float64(s.orders) }
func (s sample) microseconds() float64 { return s.cpu.Seconds() * 1e6 / float64(s.orders) }
func (s sample) databaseCost() float64 { return s.database.Seconds() * 1e6 / float64(s.orders) }

// goalOf is the memory that a reader may take.
func goalOf(compression string, jsonBytes, orders int64) float64 {
	if compression == "off" {
		return goalPlain*float64(jsonBytes) + goalBeside*float64(orders)
	}
	return goalZstd * float64(jsonBytes)
}

func (f findings) markdown(s *settings) string {
	first := f.restore[compressions[0]][0]
	t := report.Table{
		Title: fmt.Sprintf("%d orders of %s as JSON on average", s.Orders, byteCount(first.jsonBytes/first.orders)),
		Columns: []string{
			"", "seconds", "× COPY OUT", "database µs/order", "client µs/order", "MiB at ready", "× JSON", "B/order", "peak MiB", "× JSON", "MiB after changes", "× JSON",
		},
	}
	t.Add("COPY OUT of the four tables", fmt.Sprintf("%.2f", stats.MedianOf(f.copyOut, sample.seconds)), "1.00",
		fmt.Sprintf("%.1f", stats.MedianOf(f.copyOut, sample.databaseCost)), "", "", "", "", "", "", "", "")
	for _, compression := range compressions {
		r := f.restore[compression]
		row := []string{
			"read-api, CACHE_COMPRESSION=" + compression,
			fmt.Sprintf("%.2f", stats.MedianOf(r, sample.seconds)), fmt.Sprintf("%.2f", stats.RatioOf(r, f.copyOut, sample.seconds)),
			fmt.Sprintf("%.1f", stats.MedianOf(r, sample.databaseCost)), fmt.Sprintf("%.1f", stats.MedianOf(r, sample.microseconds)),
			fmt.Sprintf("%.0f", stats.MedianOf(r, sample.mebibytes)), fmt.Sprintf("%.3f", stats.MedianOf(r, sample.timesJSON)),
			fmt.Sprintf("%.0f", stats.MedianOf(r, sample.orderBytes)),
			fmt.Sprintf("%.0f", stats.MedianOf(r, sample.peakMiB)), fmt.Sprintf("%.3f", stats.MedianOf(r, sample.peakJSON)),
		}
		if c, ok := f.churn[compression]; ok {
			row = append(row, fmt.Sprintf("%d", c.memory>>20), fmt.Sprintf("%.3f", float64(c.memory)/float64(c.stats.JSONBytes)))
		} else {
			row = append(row, "", "")
		}
		t.Add(row...)
	}
	return t.Markdown() + "\n" + f.lines(s)
}

// lines say what the goals are, and what was changed.
func (f findings) lines(s *settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "- time: %.2f × COPY OUT (goal: at most %.1f)\n",
		stats.RatioOf(f.restore["off"], f.copyOut, sample.seconds), goalTime)
	for _, compression := range compressions {
		goal := fmt.Sprintf("%.2f × JSON", goalZstd)
		if compression == "off" {
			goal = fmt.Sprintf("%.2f × JSON and %d bytes an order", goalPlain, goalBeside)
		}
		ready := stats.MedianOf(f.restore[compression], func(r sample) float64 {
			return float64(r.memory) / goalOf(compression, r.jsonBytes, r.orders)
		})
		fmt.Fprintf(&b, "- memory, %s: %.2f × the goal (%s) at ready", compression, ready, goal)
		if c, ok := f.churn[compression]; ok {
			fmt.Fprintf(&b, ", %.2f × after %d changes in %v (%d updates, %d deletes, %d inserts); at most %d MiB meanwhile",
				float64(c.memory)/goalOf(compression, c.stats.JSONBytes, c.stats.Orders),
				c.sum(), s.Churn, c.updates, c.deletes, c.inserts, c.peak>>20)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func byteCount(n int64) string { return fmt.Sprintf("%d bytes", n) }
