package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// reading is how many orders had come how far at a moment.
type reading struct {
	at                   time.Time
	sent, stored, cached int64
}

// lag is how many orders were on their way.
func (r reading) lag() float64 { return float64(max(0, r.sent-r.cached)) }

// course is what was read at regular intervals.
type course []reading

const readingInterval = 250 * time.Millisecond

// readingsATrim is after how many of them the broker forgets.
const readingsATrim = 4

// rate is how many orders a second came into the cache.
func (c course) rate() float64 { return c.slope(func(r reading) float64 { return float64(r.cached) }) }

// sendRate is how many orders a second were produced.
func (c course) sendRate() float64 {
	return c.slope(func(r reading) float64 { return float64(r.sent) })
}

func (c course) slope(get func(reading) float64) float64 {
	first, last := c[0], c[len(c)-1]
	return (get(last) - get(first)) / last.at.Sub(first.at).Seconds()
}

// meanLag is the mean of the readings' lags.
func (c course) meanLag() (sum float64) {
	for _, r := range c {
		sum += r.lag()
	}
	return sum / float64(len(c))
}

// tell says whether a rate was held, and how it went.
func (c course) tell(rate float64) (held bool) {
	held = c.held(rate)
	program.Progress("%.0f orders/s: %s; %.0f/s were produced, %.0f/s came through, %.0f on their way at the end", rate,
		map[bool]string{true: "held", false: "not held"}[held], c.sendRate(), c.rate(), c[len(c)-1].lag())
	return held
}

// held says whether the services kept up: in the last third of the time, fewer
// orders were in flight than arrive in half a second, and not many more than in the
// first third. A rate that the machine is too busy to produce is not held either.
func (c course) held(rate float64) bool {
	third := len(c) / 3
	first, last := c[:third].meanLag(), c[len(c)-third:].meanLag()
	elapsed := c[len(c)-third].at.Sub(c[0].at).Seconds()
	return last < rate/2 && last-first < 0.03*rate*elapsed && c.sendRate() > 0.95*rate
}

// flow is the way from a producer to the cache.
type flow struct {
	site     *rig.Site
	topic    string
	database string
	drop     func()
	worker   *rig.Service
	reader   *rig.Reader
	load     *rig.Load
	preload  int64
	singles  atomic.Int64 // orders that probes sent
}

func (f *flow) start(ctx context.Context, s *settings, orders *rig.Orders) (err error) {
	if f.database, f.drop, err = f.site.Server.Fresh(ctx); err != nil {
		return err
	}
	if err := f.site.Broker.CreateTopic(ctx, f.topic, s.Partitions); err != nil {
		return err
	}
	if f.reader, err = f.site.StartReader(ctx, f.database); err != nil {
		return err
	}
	if f.worker, err = f.site.StartWorker(ctx, f.topic, f.database); err != nil {
		return err
	}
	stamper, err := rig.NewStamper(orders, loadSeed)
	if err != nil {
		return err
	}
	f.load, err = rig.StartLoad(ctx, f.site.Broker, f.topic, stamper)
	return err
}

// stop ends what was started, and removes the database.
func (f *flow) stop() error {
	var errs []error
	if f.load != nil {
		errs = append(errs, f.load.Stop())
	}
	if f.worker != nil {
		errs = append(errs, f.worker.Stop())
	}
	if f.reader != nil {
		errs = append(errs, f.reader.Stop())
	}
	if f.drop != nil {
		f.drop()
	}
	return errors.Join(errs...)
}

func (f *flow) read(ctx context.Context) (r reading, err error) {
	r.sent = f.load.Acked() + f.singles.Load()
	worker, err := f.worker.Metrics(ctx)
	if err != nil {
		return r, err
	}
	reader, err := f.reader.Metrics(ctx)
	if err != nil {
		return r, err
	}
	if wrong := worker[rig.MetricDeadLetter] + worker[rig.MetricDuplicate]; wrong > 0 {
		return r, fmt.Errorf("%.0f orders were dead letters or duplicates, which none of them is", wrong)
	}
	r.stored, r.cached = int64(worker[rig.MetricStored]), int64(reader[rig.MetricCached])-f.preload
	r.at = time.Now()
	return r, nil
}

// watch reads for so long. Meanwhile the broker drops processed records: it keeps
// them in memory, and collecting that garbage would take a core for a second now
// and then, which a broker on disks does not need.
func (f *flow) watch(ctx context.Context, duration time.Duration) (c course, err error) {
	for until := time.Now().Add(duration); len(c) < 4 || time.Now().Before(until); {
		if err := retry.Sleep(ctx, readingInterval); err != nil {
			return nil, err
		}
		r, err := f.read(ctx)
		if err != nil {
			return nil, err
		}
		c = append(c, r)
		if len(c)%readingsATrim == 0 {
			if err := f.site.Broker.Trim(ctx, f.topic); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// longestDrain bounds the catching up.
const longestDrain = 10 * time.Minute

// drain ends the load and returns how long it took until the tables and the cache
// had everything. Then it forgets the records, which the broker keeps in memory.
func (f *flow) drain(ctx context.Context) (stored, cached time.Duration, err error) {
	f.load.SetRate(0)
	began := time.Now()
	for {
		r, err := f.read(ctx)
		switch {
		case err != nil:
			return 0, 0, err
		case r.stored >= r.sent && stored == 0:
			stored = time.Since(began)
		}
		// What was produced a moment ago may not be acknowledged yet.
		if r.cached >= r.sent && time.Since(began) > 20*time.Millisecond {
			return stored, time.Since(began), f.site.Broker.Trim(ctx, f.topic)
		}
		if time.Since(began) > longestDrain {
			return 0, 0, errors.New("the services don't catch up")
		}
		if err := retry.Sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}

// settling is the time after a change of the rate that does not count.
const settling = 2 * time.Second

// holds tells whether the services keep up with a rate for so long.
func (f *flow) holds(ctx context.Context, rate float64, duration time.Duration) (bool, error) {
	f.load.SetRate(rate)
	if err := retry.Sleep(ctx, settling); err != nil {
		return false, err
	}
	c, err := f.watch(ctx, duration)
	if err != nil {
		return false, err
	}
	_, _, err = f.drain(ctx)
	return c.tell(rate), err
}

// lowestRate is what is tried first.
const lowestRate = 1000

// closeIn is about the highest rate that is held for some seconds.
func (f *flow) closeIn(ctx context.Context, trial time.Duration) (rate float64, err error) {
	rate = lowestRate
	for _, step := range []float64{2, 1.15} {
		rate, err = highest(rate, step, func(rate float64) (bool, error) { return f.holds(ctx, rate, trial) })
		if err != nil {
			return 0, err
		}
	}
	return rate, nil
}
