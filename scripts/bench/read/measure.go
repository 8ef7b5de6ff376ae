package main

import (
	"context"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/report"
	"github.com/orderhub/orderhub/scripts/bench/internal/wrk"
)

// target is what wrk drives: a server with a file of requests.
type target struct {
	name     string
	addr     string
	pid      int
	requests string
	headers  []string // of the client, for each request
	refusals int64    // answers of 400 and above for each request: 0 or 1
	goal     float64  // × bare gin's rate, at least; 0: none
}

const bareName = "bare gin, constant bytes"

// sample is one measurement of a target.
type sample struct {
	wrk.Load
	cpu time.Duration // of the server
}

func (s sample) rate() float64 { return s.Rate() }
func (s sample) cost() float64 { return s.cpu.Seconds() * 1e6 / float64(s.Requests) }
func (s sample) p50() float64  { return float64(s.P50) / 1000 }
func (s sample) p99() float64  { return float64(s.P99) / 1000 }

// pairs are a target's measurements, and those of the bare server beside each.
type pairs struct{ of, bare []sample }

// rounds measures the targets in turn, and the bare server with the same requests right
// before or after each. A warm-up of each comes first and does not count.
func (b *runner) rounds(ctx context.Context, targets []target) ([]pairs, error) {
	bare := target{name: bareName, addr: b.bare.Addr, pid: b.bare.Pid(), requests: b.main.requests.Hits}
	for _, t := range append([]target{bare}, targets...) {
		if _, err := b.measure(ctx, t, time.Second); err != nil {
			return nil, err
		}
	}
	measured := make([]pairs, len(targets))
	return measured, program.Rounds(b.settings.Rounds, len(targets), func(at int) error {
		bare.requests, bare.headers = targets[at].requests, targets[at].headers
		pair := []target{bare, targets[at]}
		first := (len(measured[at].of) + at) % 2
		var found [2]sample
		for _, which := range []int{first, 1 - first} {
			var err error
			if found[which], err = b.measure(ctx, pair[which], b.settings.Duration); err != nil {
				return err
			}
		}
		program.Progress("%-30s %8.0f requests/s   %4.2f × bare gin   p99 %6.2f ms, %4.2f ×   %5.1f µs of CPU a request", targets[at].name,
			found[1].Rate(), found[1].Rate()/found[0].Rate(), found[1].p99(), found[1].p99()/found[0].p99(), found[1].cost())
		measured[at].bare = append(measured[at].bare, found[0])
		measured[at].of = append(measured[at].of, found[1])
		return nil
	})
}

func (b *runner) measure(ctx context.Context, t target, duration time.Duration) (sample, error) {
	before, err := procfs.CPU(t.pid)
	if err != nil {
		return sample{}, err
	}
	found, err := b.wrk.Run(ctx, t.addr, t.requests, duration, t.headers...)
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
	return sample{Load: found, cpu: after - before}, nil
}

var columns = []report.Column[sample]{
	{Name: "requests/s", Figure: sample.rate, Format: report.Thousands[float64]},
	{Name: "× bare gin", Figure: sample.rate, Format: report.Decimals(2), Ratio: true},
	{Name: "p50 ms", Figure: sample.p50, Format: report.Decimals(2)},
	{Name: "p99 ms", Figure: sample.p99, Format: report.Decimals(2)},
	{Name: "× bare gin", Figure: sample.p99, Format: report.Decimals(2), Ratio: true},
	{Name: "server's CPU µs/request", Figure: sample.cost, Format: report.Decimals(1)},
}

// table has a row for each target, with ratios to the bare server given the same
// requests, and before them one for all measurements of the bare server.
func table(title string, targets []target, measured []pairs) string {
	bare := report.Row[sample]{Name: bareName}
	var rows []report.Row[sample]
	for i, m := range measured {
		bare.Samples = append(bare.Samples, m.bare...)
		rows = append(rows, report.Row[sample]{Name: targets[i].name, Samples: m.of, Base: m.bare})
	}
	bare.Base = bare.Samples
	return report.Compare(title, columns, append([]report.Row[sample]{bare}, rows...))
}

// goals compares each target with its goal.
func goals(targets []target, measured []pairs) (text string) {
	for i, t := range targets {
		if t.goal == 0 {
			continue
		}
		m := measured[i]
		text += fmt.Sprintf("- %s: %.2f × bare gin (goal: at least %.2f), p99 %.2f × (goal: at most 1.20)\n", t.name,
			report.RatioOf(m.of, m.bare, sample.rate), t.goal, report.RatioOf(m.of, m.bare, sample.p99))
	}
	return text
}

// sizes compares hits among other numbers of orders, by their ratios to bare gin.
func (b *runner) sizes(targets []target, measured []pairs) (text string) {
	ratio := func(i int) float64 { return report.RatioOf(measured[i].of, measured[i].bare, sample.rate) }
	for i := len(targets) - len(b.others); i < len(targets); i++ {
		text += fmt.Sprintf("- %s: %.2f × the rate among %s (goal: within 15 %%)\n", targets[i].name, ratio(i)/ratio(0), report.Thousands(b.main.orders))
	}
	return text
}

// memory says what each reader took.
func (b *runner) memory() (text string) {
	for _, s := range b.subjects() {
		text += fmt.Sprintf("- %s orders%s: ready %.1f s after the start, with %d MiB resident, %d bytes an order\n",
			report.Thousands(s.orders), s.how, s.Restore.Seconds(), s.Memory>>20, s.Memory/int64(s.orders))
	}
	return text
}
