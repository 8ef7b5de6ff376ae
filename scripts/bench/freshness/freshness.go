// Package freshness measures how soon an order that was produced can be read over
// HTTP, through the real worker, database and reader: one order at a time, and
// under most of the load that these hold together, which it finds first. It also
// overloads them, and waits until they have caught up.
package freshness

import (
	"context"
	"errors"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Preload    int           `default:"1000000" smoke:"2000" help:"Orders that are stored beforehand."`
	Items      int           `default:"1" help:"Items of an order."`
	Partitions int           `default:"4" help:"Partitions of the topic."`
	Probes     int           `default:"1000" smoke:"20" help:"Orders that are produced one at a time into idle services."`
	Updates    int           `default:"500" smoke:"20" help:"Orders that are changed by SQL, one at a time."`
	Rate       int           `default:"0" smoke:"500" help:"Take this for the full load, in orders a second, instead of finding it out."`
	Share      float64       `default:"0.8" help:"Share of the full load under which orders are timed."`
	Trial      time.Duration `default:"8s" help:"How long a rate has to be held to count as held."`
	Steady     time.Duration `default:"1m" smoke:"1s" help:"How long the full load has to be held in the end, and orders are timed under their share of it."`
	Probers    int           `default:"4" help:"Orders on their way at a time while they are timed under load."`
	Rounds     int           `default:"3" smoke:"1" help:"Times that the full load is found and orders are timed under a share of it: the one with the median p99 counts."`
	Excess     float64       `default:"1.5" help:"The overload, × the full load."`
	Overload   time.Duration `default:"1m" smoke:"1s" help:"How long the overload lasts."`

	site   *rig.Site
	orders *rig.Orders
	flows  int // so far
}

// Between two requests for an order a probe rests: less while it is alone.
const idleRest, busyRest = 250 * time.Microsecond, 10 * time.Millisecond

// Between two orders a prober under load pauses so many times as long as one that is
// alone; for longer if it changes orders, since each change alone wakes the reader.
const orderPauses, changePauses = 2, 20

// warming is the time under a load that is not counted: right after a checkpoint,
// with which each database begins, the server writes each page to its log whole when
// it first changes.
const warming = 5 * time.Second

const lowestRate = 1000

// Measure makes the tables.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	// The tables grow by millions of orders with random keys.
	b.site = rig.OpenSite(ctx, flags, map[string]string{"shared_buffers": rig.QuarterOfMemory()})
	defer b.site.Close()
	b.orders = b.site.Store(ctx, b.Preload, b.Items, nil)
	f := findings{Benchmark: b}
	rig.Progress("timing single orders through idle services")
	b.withFlow(ctx, func(flow *flow) { b.idle(ctx, flow, &f) })
	full := float64(b.Rate)
	if full == 0 {
		rig.Progress("looking for the full load")
		full = lowestRate
		for _, step := range []float64{2, 1.15} {
			full = b.fullLoad(ctx, full, step, b.Trial)
		}
	}
	// A machine's speed changes, so each round has its own full load, and times
	// orders under a share of it right after.
	for range b.Rounds {
		if b.Rate == 0 {
			full = b.fullLoad(ctx, full, 1.05, b.Steady)
		}
		rig.Progress("timing orders under %.0f orders/s", full*b.Share)
		l := b.loaded(ctx, full*b.Share, b.Steady)
		l.full = full
		rig.Progress("p99 %s ms", ms(l.p99()))
		f.rounds = append(f.rounds, l)
	}
	b.withFlow(ctx, func(flow *flow) { f.overload = b.overload(ctx, flow, f.typical().full*b.Excess) })
	b.site.Save("freshness", f.latencies()+"\n"+f.excess())
}

// fullLoad is the highest rate that is held for a time, to a factor of step. What is
// held for some seconds need not be held for long, since buffers fill slowly and
// tables grow. So in the end it has to be held as long as orders are then timed, with
// the same tables and the same probes, which use part of the cores.
func (b *Benchmark) fullLoad(ctx context.Context, about, step float64, duration time.Duration) float64 {
	return highest(about, step, func(rate float64) bool {
		c := b.loaded(ctx, rate, duration).course
		held := c.held(rate)
		rig.Progress("%.0f orders/s held: %t; %.0f/s were produced, %.0f/s reached the cache", rate, held, c.sendRate(), c.rate())
		return held
	})
}

// highest goes up or down from about, by a factor of step each time, to the
// highest rate that is held.
func highest(about, step float64, holds func(rate float64) bool) float64 {
	held := holds(about)
	for rate := about; ; {
		next := rate * step
		if !held {
			next = rate / step
		}
		ok := holds(next)
		switch {
		case held && !ok:
			return rate
		case !held && ok:
			return next
		case next < 1:
			must.Succeed(errors.New("no rate is held"))
		}
		rate = next
	}
}

func (b *Benchmark) idle(ctx context.Context, flow *flow, f *findings) {
	f.notify = timeNotify(ctx, flow.database, b.Updates)
	p := b.newProbe(ctx, flow, 0, idleRest)
	defer p.close()
	f.idle = &latencies{}
	rig.Singly(ctx, b.Probes, func(_ int, counts bool) {
		if counts {
			p.order(ctx, f.idle)
		} else {
			p.order(ctx, &latencies{})
		}
	})
	for i := range b.Updates {
		must.Succeed(retry.Sleep(ctx, rig.Pause(i)))
		p.update(ctx, f.idle, b.changed(i))
	}
	f.idle.throughs = flow.reader.Stats(ctx).ReadThroughs
}

// changed is the uid of the i-th order to be changed by SQL.
func (b *Benchmark) changed(i int) string { return b.orders.Sample[i%len(b.orders.Sample)].OrderUID }

// loaded is what was found while orders came at a rate.
type loaded struct {
	*latencies
	full   float64 // orders/s that the services hold
	course course
}

// p99 is that of orders from their beginning until they are readable.
func (l loaded) p99() time.Duration { return report.Percentile(l.readable, 0.99) }

// loaded times orders and changes while others come at a rate, and finds whether the
// services keep up. It begins with the orders that were stored beforehand and no
// others: larger tables make each order more expensive.
func (b *Benchmark) loaded(ctx context.Context, rate float64, duration time.Duration) (l loaded) {
	l.latencies = &latencies{}
	b.withFlow(ctx, func(flow *flow) {
		flow.load.SetRate(rate)
		must.Succeed(retry.Sleep(ctx, warming))
		until := time.Now().Add(duration)
		b.site.StartProfile(ctx, "worker", flow.worker)
		b.site.StartProfile(ctx, "reader", flow.reader.Service)
		parts := []func(context.Context){func(ctx context.Context) { l.course = flow.watch(ctx, duration) }}
		for n := range b.Probers + 1 {
			parts = append(parts, func(ctx context.Context) { b.keepProbing(ctx, flow, l.latencies, n, until) })
		}
		must.Together(ctx, parts...)
		l.throughs = flow.reader.Stats(ctx).ReadThroughs
		flow.drain(ctx)
	})
	return l
}

// keepProbing is one prober: the first changes orders by SQL, the others send new
// ones.
func (b *Benchmark) keepProbing(ctx context.Context, flow *flow, found *latencies, number int, until time.Time) {
	p := b.newProbe(ctx, flow, number, busyRest)
	defer p.close()
	for i := 0; time.Now().Before(until); i++ {
		if number == 0 {
			must.Succeed(retry.Sleep(ctx, changePauses*rig.Pause(i)))
			p.update(ctx, found, b.changed(i))
		} else {
			must.Succeed(retry.Sleep(ctx, orderPauses*rig.Pause(i)))
			p.order(ctx, found)
		}
	}
}

type overloaded struct {
	rate                 float64 // produced, orders/s
	through              float64 // that reached the cache meanwhile
	behind, readerBehind float64 // at most, in seconds of what reached the cache
	stored, cached       time.Duration
}

func (b *Benchmark) overload(ctx context.Context, flow *flow, rate float64) (o overloaded) {
	rig.Progress("overload: %.0f orders/s for %v", rate, b.Overload)
	flow.load.SetRate(rate)
	c := flow.watch(ctx, b.Overload)
	o.rate, o.through = c.sendRate(), c.rate()
	for _, r := range c {
		o.behind = max(o.behind, r.lag()/o.through)
		o.readerBehind = max(o.readerBehind, float64(r.stored-r.cached)/o.through)
	}
	o.stored, o.cached = flow.drain(ctx)
	rig.Progress("caught up after %v", o.cached)
	return o
}
