package freshness

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/orderhub/orderhub/scripts/internal/report"
)

type findings struct {
	*Benchmark
	notify   []time.Duration
	idle     *latencies
	rounds   []loaded
	overload overloaded
}

// typical is the round whose p99 is the median.
func (f findings) typical() loaded {
	sorted := slices.SortedFunc(slices.Values(f.rounds), func(a, b loaded) int { return cmp.Compare(a.p99(), b.p99()) })
	return sorted[len(sorted)/2]
}

// goals of the 99th percentiles.
const idleGoal, busyGoal = 25 * time.Millisecond, 250 * time.Millisecond

func (f findings) latencies() string {
	t := report.Table{
		Title:   fmt.Sprintf("Single orders and changes, among %s orders", report.Thousands(f.Preload)),
		Columns: []string{"ms", "times", "p50", "p99", "max"},
	}
	add := func(name string, of []time.Duration) {
		t.Add(append([]string{name, report.Thousands(len(of))}, report.Latencies(of, 1)...)...)
	}
	add("a bare NOTIFY: committed → heard", f.notify)
	add("idle: produced (acks=all)", f.idle.produced)
	add("idle: produced → readable", f.idle.readable)
	add("idle: UPDATE committed → readable", f.idle.applied)
	typical := f.typical()
	under := fmt.Sprintf("%s orders/s: ", report.Thousands(typical.full*f.Share))
	add(under+"produced (acks=all)", typical.produced)
	add(under+"produced → readable", typical.readable)
	add(under+"UPDATE committed → readable", typical.applied)
	line := func(what string, p99 time.Duration, goal time.Duration) string {
		return fmt.Sprintf("- produced → readable %s: p99 %s ms (goal: at most %d)", what, ms(p99), goal.Milliseconds())
	}
	text := t.Markdown() + "\n" + line("idle", report.Percentile(f.idle.readable, 0.99), idleGoal) + "\n" +
		line(fmt.Sprintf("at %.0f %% of the full load", f.Share*100), typical.p99(), busyGoal) +
		fmt.Sprintf(": the median of the rounds of %v", f.Steady)
	throughs := f.idle.throughs
	for _, l := range f.rounds {
		text += fmt.Sprintf(", %s ms (full load %s/s)", ms(l.p99()), report.Thousands(l.full))
		throughs += l.throughs
	}
	if throughs > 0 {
		return text + fmt.Sprintf("\n- %s of the answers were not the cache's, which was too old to know, but the tables'\n", report.Thousands(throughs))
	}
	return text + "\n- all answers were the cache's own\n"
}

func (f findings) excess() string {
	o := f.overload
	t := report.Table{
		Title: fmt.Sprintf("%v of overload, then nothing", f.Overload), Columns: []string{"", "found"},
	}
	t.Add("produced, orders/s", report.Thousands(o.rate))
	t.Add("readable meanwhile, orders/s", report.Thousands(o.through))
	t.Add("× the full load", fmt.Sprintf("%.2f", o.through/f.typical().full))
	t.Add("cache behind the topic, at most, s", fmt.Sprintf("%.1f", o.behind))
	t.Add("cache behind the tables, at most, s", fmt.Sprintf("%.1f", o.readerBehind))
	t.Add("tables caught up after, s", fmt.Sprintf("%.1f", o.stored.Seconds()))
	t.Add("cache caught up after, s", fmt.Sprintf("%.1f", o.cached.Seconds()))
	return t.Markdown()
}

func ms(d time.Duration) string { return report.Milliseconds(d, 1) }
