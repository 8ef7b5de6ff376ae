package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/bench/internal/stats"
)

// Seeds of stampers: the load's, and from there on the probes'.
const loadSeed, probeSeed = 1, 2

// Between two requests for an order a probe rests: less while it is alone.
const idleRest, busyRest = 250 * time.Microsecond, 10 * time.Millisecond

// Under load the probe that changes orders is quiet for longer than the others: each
// change of its own makes the reader look.
const changesApart = 10

// warmUp is how many first orders are not counted: connections are opened then.
const warmUp = 5

func bench(ctx context.Context, s *settings) (err error) {
	// The tables grow by millions of orders, whose keys lie anywhere.
	site, err := rig.OpenSite(ctx, s.Common(), map[string]string{"shared_buffers": rig.QuarterOfMemory()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	b := &runner{settings: s, site: site, flow: &flow{}}
	defer func() { err = errors.Join(err, b.flow.stop()) }()
	if err := b.start(ctx); err != nil {
		return err
	}
	found, err := b.measure(ctx)
	if err != nil {
		return err
	}
	return site.Save("freshness", found.text())
}

// runner has everything up.
type runner struct {
	settings *settings
	site     *rig.Site
	orders   *rig.Orders
	flow     *flow
	flows    int // so far
}

func (b *runner) start(ctx context.Context) (err error) {
	if b.orders, err = b.site.Store(ctx, b.settings.Preload, b.settings.Items); err != nil {
		return err
	}
	return b.renew(ctx)
}

// renew has the services begin anew, with the orders that were stored beforehand
// and no others: tables that grow make each order dearer.
func (b *runner) renew(ctx context.Context) error {
	if err := b.flow.stop(); err != nil {
		return err
	}
	b.flows++
	b.flow = &flow{site: b.site, topic: fmt.Sprintf("fresh-%d", b.flows), preload: int64(b.settings.Preload)}
	return b.flow.start(ctx, b.settings, b.orders)
}

func (b *runner) measure(ctx context.Context) (f findings, err error) {
	f.settings = b.settings
	program.Progress("timing single orders through idle services")
	if f.notify, err = timeNotify(ctx, b.flow.database, b.settings.Updates); err != nil {
		return f, err
	}
	if f.idle, err = b.idle(ctx); err != nil {
		return f, err
	}
	full := float64(b.settings.Rate)
	if full == 0 {
		program.Progress("looking for the full load")
		if full, err = b.flow.closeIn(ctx, b.settings.Trial); err != nil {
			return f, err
		}
	}
	for range b.settings.Rounds {
		l, err := b.round(ctx, full)
		if err != nil {
			return f, err
		}
		f.rounds = append(f.rounds, l)
		full = l.full
	}
	if err := b.renew(ctx); err != nil {
		return f, err
	}
	f.overload, err = b.overload(ctx, f.typical().full*b.settings.Excess)
	return f, err
}

// round finds the full load, and right after it times orders under a share of it: a
// machine's speed may have changed by the next round.
func (b *runner) round(ctx context.Context, about float64) (l loaded, err error) {
	full := float64(b.settings.Rate)
	if full == 0 {
		if full, err = b.fullLoad(ctx, about); err != nil {
			return l, err
		}
	}
	if err := b.renew(ctx); err != nil {
		return l, err
	}
	program.Progress("timing orders under %.0f orders/s", full*b.settings.Share)
	if l, err = b.loaded(ctx, full*b.settings.Share); err != nil {
		return l, err
	}
	l.full = full
	program.Progress("p99 %s ms", ms(l.p99()))
	return l, nil
}

// fullLoad is the highest rate that is held, to about 5 %. What was held for some
// seconds need not be held for long, since buffers fill slowly and tables grow: it
// has to be held under what orders are then timed under, for as long, with the same
// tables to begin with and with the same probes, which take their share of the cores.
func (b *runner) fullLoad(ctx context.Context, about float64) (float64, error) {
	return highest(about, 1.05, func(rate float64) (bool, error) {
		if err := b.renew(ctx); err != nil {
			return false, err
		}
		l, err := b.loaded(ctx, rate)
		if err != nil {
			return false, err
		}
		return l.course.tell(rate), nil
	})
}

// highest goes up or down from about, by a factor of step each time, to the
// highest rate that is held.
func highest(about, step float64, holds func(rate float64) (bool, error)) (float64, error) {
	held, err := holds(about)
	if err != nil {
		return 0, err
	}
	factor := step
	if !held {
		factor = 1 / step
	}
	for rate := about; ; {
		next := rate * factor
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

// latencies are what probes found.
type latencies struct {
	mu                          sync.Mutex
	produced, readable, applied []time.Duration
	throughs                    int64 // orders that were asked of the tables instead
}

func (l *latencies) order(ctx context.Context, p *probe, f *flow) error {
	f.singles.Add(1)
	produced, readable, err := p.order(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.produced, l.readable = append(l.produced, produced), append(l.readable, readable)
	return err
}

func (l *latencies) update(ctx context.Context, p *probe, uid string) error {
	applied, err := p.update(ctx, uid)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied = append(l.applied, applied)
	return err
}

// pause is the quiet before each order. It takes different lengths, so as not to
// keep step with anything.
func pause(i int) time.Duration { return time.Duration(3+i%7) * time.Millisecond }

// probe connects a probe of its own number.
func (b *runner) probe(ctx context.Context, number int, rest time.Duration) (*probe, error) {
	stamper, err := rig.NewStamper(b.orders, probeSeed+uint8(number))
	if err != nil {
		return nil, err
	}
	p, err := newProbe(ctx, b.site.Broker, b.flow.topic, b.flow.reader.Addr, b.flow.database, stamper)
	if err != nil {
		return nil, err
	}
	p.rest = rest
	return p, nil
}

// changed is the uid of the i-th order to be changed by SQL.
func (b *runner) changed(i int) string { return b.orders.Sample[i%len(b.orders.Sample)].OrderUID }

// idle times one order after another.
func (b *runner) idle(ctx context.Context) (*latencies, error) {
	p, err := b.probe(ctx, 0, idleRest)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var first latencies
	found := &latencies{}
	before, err := b.flow.reader.Stats(ctx)
	if err != nil {
		return nil, err
	}
	for i := range warmUp + b.settings.Probes {
		to := found
		if i < warmUp {
			to = &first
		}
		time.Sleep(pause(i))
		if err := to.order(ctx, p, b.flow); err != nil {
			return nil, err
		}
	}
	for i := range b.settings.Updates {
		time.Sleep(pause(i))
		if err := found.update(ctx, p, b.changed(i)); err != nil {
			return nil, err
		}
	}
	after, err := b.flow.reader.Stats(ctx)
	found.throughs = after.ReadThroughs - before.ReadThroughs
	return found, err
}

// loaded is what was found while orders came at a share of the full load.
type loaded struct {
	*latencies
	full   float64 // orders/s
	course course
	costs  costs
}

// p99 of the way of an order.
func (l loaded) p99() time.Duration { return stats.Percentile(l.readable, 0.99) }

// warming is the time under a load that is not counted: after a checkpoint, with
// which each database begins, the server writes each page to its log whole when it
// first changes.
const warming = 5 * time.Second

// loaded times orders and changes while others come at a rate, and tells how they
// came through and what they cost whom.
func (b *runner) loaded(ctx context.Context, rate float64) (l loaded, err error) {
	l.latencies = &latencies{}
	before, err := b.flow.reader.Stats(ctx)
	if err != nil {
		return l, err
	}
	b.flow.load.SetRate(rate)
	if err := retry.Sleep(ctx, warming); err != nil {
		return l, err
	}
	started, err := b.cpu()
	if err != nil {
		return l, err
	}
	from := b.flow.load.Acked()
	until := time.Now().Add(b.settings.Steady)
	group, probing := errgroup.WithContext(ctx)
	for n := range b.settings.Probers + 1 {
		group.Go(func() error { return b.keepProbing(probing, l.latencies, 1+n, until) })
	}
	group.Go(func() error { return b.profile(probing) })
	group.Go(func() (err error) {
		l.course, err = b.flow.watch(probing, b.settings.Steady)
		return err
	})
	if err := group.Wait(); err != nil {
		return l, err
	}
	spent, err := b.cpu()
	if err != nil {
		return l, err
	}
	l.costs = spent.minus(started, b.flow.load.Acked()-from+int64(len(l.readable)))
	after, err := b.flow.reader.Stats(ctx)
	if err != nil {
		return l, err
	}
	l.throughs = after.ReadThroughs - before.ReadThroughs
	_, _, err = b.flow.drain(ctx)
	return l, err
}

// keepProbing is one prober: the first changes orders by SQL, the others send new
// ones.
func (b *runner) keepProbing(ctx context.Context, found *latencies, number int, until time.Time) error {
	p, err := b.probe(ctx, number, busyRest)
	if err != nil {
		return err
	}
	defer p.close()
	changes, rest := number == 1, 2
	if changes {
		rest *= changesApart
	}
	for i := 0; time.Now().Before(until); i++ {
		if err := retry.Sleep(ctx, pause(i)*time.Duration(rest)); err != nil {
			return err
		}
		if changes {
			err = found.update(ctx, p, b.changed(i))
		} else {
			err = found.order(ctx, p, b.flow)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// profile takes profiles, where that is wanted.
func (b *runner) profile(ctx context.Context) error {
	if b.settings.Profiles == "" {
		return nil
	}
	for name, service := range map[string]*rig.Service{"worker": b.flow.worker, "reader": b.flow.reader.Service} {
		if err := service.Profile(ctx, "profile?seconds=5", filepath.Join(b.settings.Profiles, name+".cpu.pprof")); err != nil {
			return err
		}
	}
	return nil
}

// costs are CPU times, and what they were spent on.
type costs struct {
	orders                                 int64
	at                                     time.Time
	took                                   time.Duration
	worker, reader, database, broker, load time.Duration
}

func (b *runner) cpu() (c costs, err error) {
	var errs [4]error
	c.worker, errs[0] = procfs.CPU(b.flow.worker.Pid())
	c.reader, errs[1] = procfs.CPU(b.flow.reader.Pid())
	c.database, errs[2] = procfs.TreeCPU(b.site.Server.Pid())
	c.broker, errs[3] = procfs.CPU(b.site.Broker.Pid())
	c.load, c.at = procfs.Self(), time.Now()
	return c, errors.Join(errs[:]...)
}

func (c costs) minus(before costs, orders int64) costs {
	return costs{
		orders: orders, took: c.at.Sub(before.at), worker: c.worker - before.worker, reader: c.reader - before.reader,
		database: c.database - before.database, broker: c.broker - before.broker, load: c.load - before.load,
	}
}

// overloaded is what an overload did.
type overloaded struct {
	rate                 float64 // produced
	through              float64 // came into the cache meanwhile
	behind, readerBehind float64 // at most, in seconds of what came through
	stored, cached       time.Duration
}

func (b *runner) overload(ctx context.Context, rate float64) (o overloaded, err error) {
	program.Progress("overload: %.0f orders/s for %v", rate, b.settings.Overload)
	b.flow.load.SetRate(rate)
	c, err := b.flow.watch(ctx, b.settings.Overload)
	if err != nil {
		return o, err
	}
	o.rate, o.through = c.sendRate(), c.rate()
	for _, r := range c {
		o.behind = max(o.behind, r.lag()/o.through)
		o.readerBehind = max(o.readerBehind, float64(r.stored-r.cached)/o.through)
	}
	o.stored, o.cached, err = b.flow.drain(ctx)
	program.Progress("caught up after %v", o.cached)
	return o, err
}
