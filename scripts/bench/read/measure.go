package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/stats"
)

// target is what wrk drives: a server with a file of requests.
type target struct {
	name     string
	addr     string
	pid      int
	requests string
	refusals int64 // answers of 400 and above for each request: 0 or 1
}

// sample is one measurement of a target.
type sample struct {
	load
	cpu time.Duration // of the server
}

func (s sample) rate() float64 { return float64(s.Requests) / float64(s.Microseconds) * 1e6 }
func (s sample) cost() float64 { return s.cpu.Seconds() * 1e6 / float64(s.Requests) }
func (s sample) p50() float64  { return float64(s.P50) / 1000 }
func (s sample) p99() float64  { return float64(s.P99) / 1000 }

// rounds drives the targets in turn, beginning with another one each time. Before
// that each is driven for a moment that does not count.
func rounds(ctx context.Context, s settings, w *wrk, targets []target) ([][]sample, error) {
	measured := make([][]sample, len(targets))
	for _, t := range targets {
		if _, err := measure(ctx, w, t, time.Second); err != nil {
			return nil, err
		}
	}
	for round := range s.rounds {
		progress("round %d of %d", round+1, s.rounds)
		for i := range targets {
			at := (round + i) % len(targets)
			m, err := measure(ctx, w, targets[at], s.duration)
			if err != nil {
				return nil, err
			}
			progress("%-26s %8.0f requests/s   p99 %6.2f ms   %5.1f µs of CPU a request", targets[at].name, m.rate(), m.p99(), m.cost())
			measured[at] = append(measured[at], m)
		}
	}
	return measured, nil
}

func measure(ctx context.Context, w *wrk, t target, duration time.Duration) (sample, error) {
	before, err := procfs.CPU(t.pid)
	if err != nil {
		return sample{}, err
	}
	found, err := w.run(ctx, t.addr, t.requests, duration)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", t.name, err)
	}
	after, err := procfs.CPU(t.pid)
	if err != nil {
		return sample{}, err
	}
	if want := found.Requests * t.refusals; found.Refused != want {
		return sample{}, fmt.Errorf("%s: %d of %d answers were errors, not %d", t.name, found.Refused, found.Requests, want)
	}
	return sample{load: found, cpu: after - before}, nil
}

// table has a row for each target, with medians of its rounds. The first is what
// the ratios are to.
func table(s settings, size int, targets []target, measured [][]sample) string {
	title := fmt.Sprintf("%d orders in memory, answers of %d bytes, %d connections", s.orders, size, s.connections)
	if s.compression != "off" {
		title += ", CACHE_COMPRESSION=" + s.compression
	}
	if s.ingestRate > 0 {
		title += fmt.Sprintf(", while %d orders/s are ingested", s.ingestRate)
	}
	t := report.Table{Title: title, Columns: []string{"", "requests/s", "× bare gin", "p50 ms", "p99 ms", "× bare gin", "server's CPU µs/request"}}
	for i, target := range targets {
		m := measured[i]
		t.Add(target.name,
			fmt.Sprintf("%.0f", stats.MedianOf(m, sample.rate)),
			fmt.Sprintf("%.2f", stats.RatioOf(m, measured[0], sample.rate)),
			fmt.Sprintf("%.2f", stats.MedianOf(m, sample.p50)),
			fmt.Sprintf("%.2f", stats.MedianOf(m, sample.p99)),
			fmt.Sprintf("%.2f", stats.RatioOf(m, measured[0], sample.p99)),
			fmt.Sprintf("%.1f", stats.MedianOf(m, sample.cost)),
		)
	}
	return t.Markdown()
}

// lines say what the goals are and what memory it took.
func lines(s settings, a *api, measured [][]sample) string {
	goal := "0.95"
	switch {
	case s.compression != "off":
		goal = "0.80"
	case s.ingestRate > 0:
		goal = "0.90"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "- hits: %.2f × bare gin (goal: at least %s), p99 %.2f × (goal: at most 1.20)\n",
		stats.RatioOf(measured[1], measured[0], sample.rate), goal, stats.RatioOf(measured[1], measured[0], sample.p99))
	fmt.Fprintf(&b, "- ready %.1f s after its start, with %d MiB resident: %d bytes an order\n",
		a.restore.Seconds(), a.memory>>20, a.memory/int64(s.orders))
	return b.String()
}
