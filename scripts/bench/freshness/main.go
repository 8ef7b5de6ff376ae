// Command freshness measures how soon an order that was produced can be read over
// HTTP, through the real worker, database and reader: one order at a time, and
// under most of the load that these hold together, which it finds first. It also
// overloads them, and waits until they have caught up.
package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole) }

var benchmark = program.Named("freshness", "How soon an order that was produced can be read, idle and under load, and how long it takes to catch up after an overload.")

type settings struct {
	program.Flags
	Preload    int           `default:"1000000" full:"1000000" smoke:"2000" min:"1" help:"Orders that are stored beforehand."`
	Items      int           `default:"1" min:"1" help:"Items of an order."`
	Partitions int           `default:"4" min:"1" help:"Partitions of the topic."`
	Probes     int           `default:"1000" full:"1000" smoke:"20" min:"1" help:"Orders that are produced one at a time into idle services."`
	Updates    int           `default:"500" smoke:"20" min:"1" help:"Orders that are changed by SQL, one at a time."`
	Rate       int           `default:"0" smoke:"500" min:"0" help:"Take this for the full load, in orders a second, instead of finding it out."`
	Share      float64       `default:"0.8" min:"0.01" help:"Share of the full load under which orders are timed."`
	Trial      time.Duration `default:"8s" full:"8s" min:"1s" help:"How long a rate has to be held to count as held."`
	Steady     time.Duration `default:"1m" full:"1m" smoke:"1s" min:"1s" help:"How long the full load has to be held in the end, and orders are timed under their share of it."`
	Probers    int           `default:"4" min:"1" help:"Orders on their way at a time while they are timed under load."`
	Rounds     int           `default:"3" full:"3" smoke:"1" min:"1" help:"Times that the full load is found and orders are timed under a share of it: the one with the median p99 counts."`
	Excess     float64       `default:"1.5" min:"0.01" help:"The overload, × the full load."`
	Overload   time.Duration `default:"1m" full:"1m" smoke:"1s" min:"1s" help:"How long the overload lasts."`
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

// lowestRate is what is tried first.
const lowestRate = 1000

// runner has what all measurements share.
type runner struct {
	settings *settings
	site     *rig.Site
	orders   *rig.Orders
	flows    int // so far
}

func bench(ctx context.Context, s *settings) (err error) {
	// The tables grow by millions of orders with random keys.
	site, err := rig.OpenSite(ctx, s.Common(), map[string]string{"shared_buffers": rig.QuarterOfMemory()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	b := &runner{settings: s, site: site}
	if b.orders, err = site.Store(ctx, s.Preload, s.Items); err != nil {
		return err
	}
	found, err := b.measure(ctx)
	if err != nil {
		return err
	}
	return site.Save("freshness", found.text())
}

func (b *runner) measure(ctx context.Context) (f findings, err error) {
	f.settings = b.settings
	program.Progress("timing single orders through idle services")
	if err := b.withFlow(ctx, func(flow *flow) error { return b.idle(ctx, flow, &f) }); err != nil {
		return f, err
	}
	full := float64(b.settings.Rate)
	if full == 0 {
		program.Progress("looking for the full load")
		full = lowestRate
		for _, step := range []float64{2, 1.15} {
			if full, err = b.fullLoad(ctx, full, step, b.settings.Trial); err != nil {
				return f, err
			}
		}
	}
	// A machine's speed changes, so each round has its own full load, and times
	// orders under a share of it right after.
	for range b.settings.Rounds {
		if b.settings.Rate == 0 {
			if full, err = b.fullLoad(ctx, full, 1.05, b.settings.Steady); err != nil {
				return f, err
			}
		}
		program.Progress("timing orders under %.0f orders/s", full*b.settings.Share)
		l, err := b.loaded(ctx, full*b.settings.Share, b.settings.Steady)
		if err != nil {
			return f, err
		}
		l.full = full
		program.Progress("p99 %s ms", ms(l.p99()))
		f.rounds = append(f.rounds, l)
	}
	err = b.withFlow(ctx, func(flow *flow) (err error) {
		f.overload, err = b.overload(ctx, flow, f.typical().full*b.settings.Excess)
		return err
	})
	return f, err
}

// fullLoad is the highest rate that is held for a time, to a factor of step. What is
// held for some seconds need not be held for long, since buffers fill slowly and
// tables grow. So in the end it has to be held as long as orders are then timed, with
// the same tables and the same probes, which use part of the cores.
func (b *runner) fullLoad(ctx context.Context, about, step float64, duration time.Duration) (float64, error) {
	return highest(about, step, func(rate float64) (bool, error) {
		l, err := b.loaded(ctx, rate, duration)
		if err != nil {
			return false, err
		}
		held := l.course.held(rate)
		program.Progress("%.0f orders/s held: %t; %.0f/s were produced, %.0f/s reached the cache", rate, held, l.course.sendRate(), l.course.rate())
		return held, nil
	})
}

// highest goes up or down from about, by a factor of step each time, to the
// highest rate that is held.
func highest(about, step float64, holds func(rate float64) (bool, error)) (float64, error) {
	held, err := holds(about)
	if err != nil {
		return 0, err
	}
	for rate := about; ; {
		next := rate * step
		if !held {
			next = rate / step
		}
		ok, err := holds(next)
		switch {
		case err != nil:
			return 0, err
		case held && !ok:
			return rate, nil
		case !held && ok:
			return next, nil
		case next < 1:
			return 0, errors.New("no rate is held")
		}
		rate = next
	}
}

// idle times one order after another.
func (b *runner) idle(ctx context.Context, flow *flow, f *findings) (err error) {
	if f.notify, err = timeNotify(ctx, flow.database, b.settings.Updates); err != nil {
		return err
	}
	p, err := b.newProbe(ctx, flow, 0, idleRest)
	if err != nil {
		return err
	}
	defer p.close()
	f.idle = &latencies{}
	err = rig.Singly(ctx, b.settings.Probes, func(_ int, counts bool) error {
		if !counts {
			return p.order(ctx, &latencies{})
		}
		return p.order(ctx, f.idle)
	})
	for i := 0; i < b.settings.Updates && err == nil; i++ {
		time.Sleep(rig.Pause(i))
		err = p.update(ctx, f.idle, b.changed(i))
	}
	if err == nil {
		f.idle.throughs, err = flow.readThroughs(ctx)
	}
	return err
}

// changed is the uid of the i-th order to be changed by SQL.
func (b *runner) changed(i int) string { return b.orders.Sample[i%len(b.orders.Sample)].OrderUID }

// loaded is what was found while orders came at a rate.
type loaded struct {
	*latencies
	full   float64 // orders/s that the services hold
	course course
	costs  costs
}

// p99 is that of orders from their beginning until they are readable.
func (l loaded) p99() time.Duration { return report.Percentile(l.readable, 0.99) }

// loaded times orders and changes while others come at a rate, and finds whether the
// services keep up and what that costs whom. It begins with the orders that were
// stored beforehand and no others: larger tables make each order more expensive.
func (b *runner) loaded(ctx context.Context, rate float64, duration time.Duration) (l loaded, err error) {
	l.latencies = &latencies{}
	err = b.withFlow(ctx, func(flow *flow) error {
		flow.load.SetRate(rate)
		if err := retry.Sleep(ctx, warming); err != nil {
			return err
		}
		before, err := flow.costs()
		if err != nil {
			return err
		}
		until := before.at.Add(duration)
		group, probing := errgroup.WithContext(ctx)
		for n := range b.settings.Probers + 1 {
			group.Go(func() error { return b.keepProbing(probing, flow, l.latencies, n, until) })
		}
		b.site.StartProfile(ctx, "worker", flow.worker)
		b.site.StartProfile(ctx, "reader", flow.reader.Service)
		group.Go(func() (err error) {
			l.course, err = flow.watch(probing, duration)
			return err
		})
		if err := group.Wait(); err != nil {
			return err
		}
		after, err := flow.costs()
		if err != nil {
			return err
		}
		l.costs = after.minus(before)
		if l.throughs, err = flow.readThroughs(ctx); err != nil {
			return err
		}
		_, _, err = flow.drain(ctx)
		return err
	})
	return l, err
}

// keepProbing is one prober: the first changes orders by SQL, the others send new
// ones.
func (b *runner) keepProbing(ctx context.Context, flow *flow, found *latencies, number int, until time.Time) error {
	p, err := b.newProbe(ctx, flow, number, busyRest)
	if err != nil {
		return err
	}
	defer p.close()
	pauses, probe := orderPauses, func(int) error { return p.order(ctx, found) }
	if number == 0 {
		pauses, probe = changePauses, func(i int) error { return p.update(ctx, found, b.changed(i)) }
	}
	for i := 0; time.Now().Before(until); i++ {
		if err := retry.Sleep(ctx, rig.Pause(i)*time.Duration(pauses)); err != nil {
			return err
		}
		if err := probe(i); err != nil {
			return err
		}
	}
	return nil
}

// overloaded is what an overload did.
type overloaded struct {
	rate                 float64 // produced, orders/s
	through              float64 // that reached the cache meanwhile
	behind, readerBehind float64 // at most, in seconds of what reached the cache
	stored, cached       time.Duration
}

func (b *runner) overload(ctx context.Context, flow *flow, rate float64) (o overloaded, err error) {
	program.Progress("overload: %.0f orders/s for %v", rate, b.settings.Overload)
	flow.load.SetRate(rate)
	c, err := flow.watch(ctx, b.settings.Overload)
	if err != nil {
		return o, err
	}
	o.rate, o.through = c.sendRate(), c.rate()
	for _, r := range c {
		o.behind = max(o.behind, r.lag()/o.through)
		o.readerBehind = max(o.readerBehind, float64(r.stored-r.cached)/o.through)
	}
	o.stored, o.cached, err = flow.drain(ctx)
	program.Progress("caught up after %v", o.cached)
	return o, err
}
