package freshness

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// loadSeed is the seed of the load's stamper. Those of the probes follow.
const loadSeed = 1

// flow is everything between a producer and the cache.
type flow struct {
	site     *rig.Site
	topic    string
	database string
	worker   *rig.Service
	reader   *rig.Reader
	load     *rig.Load
	preload  int64
	singles  atomic.Int64 // orders that probes sent
}

// withFlow starts services on a database and a topic of their own, and stops them
// after use.
func (b *Benchmark) withFlow(ctx context.Context, use func(*flow)) {
	b.flows++
	f := &flow{site: b.site, topic: fmt.Sprintf("fresh-%d", b.flows), preload: int64(b.Preload)}
	var drop func()
	f.database, drop = b.site.Server.Fresh(ctx)
	defer drop()
	b.site.Broker.CreateTopic(ctx, f.topic, b.Partitions, "delete")
	var environment []string
	if b.site.Smoke { // on a busy machine a round may take longer than the default
		environment = append(environment, "CACHE_MAX_STALENESS=1m")
	}
	f.reader = b.site.StartReader(ctx, f.database, environment...)
	defer f.reader.Stop()
	f.reader.AwaitLists(ctx) // making what they are found by takes a core
	f.worker = b.site.StartWorker(ctx, f.topic, f.database)
	defer f.worker.Stop()
	f.load = rig.StartLoad(ctx, b.site.Broker, f.topic, b.orders, loadSeed)
	defer f.load.Stop()
	use(f)
}

func (f *flow) read(ctx context.Context) (r reading) {
	r.sent = f.load.Acked() + f.singles.Load()
	worker, reader := f.worker.Metrics(ctx), f.reader.Metrics(ctx)
	rig.CheckNew(worker)
	r.stored, r.cached, r.at = int64(worker[rig.MetricStored]), int64(reader[rig.MetricCached])-f.preload, time.Now()
	return r
}

// reading is how many orders had been sent, stored and cached at a moment.
type reading struct {
	at                   time.Time
	sent, stored, cached int64
}

// lag is how many orders were in flight.
func (r reading) lag() float64 { return float64(max(0, r.sent-r.cached)) }

// course is what was read at regular intervals.
type course []reading

// rate is how many orders a second reached the cache.
func (c course) rate() float64 { return c.slope(func(r reading) int64 { return r.cached }) }

// sendRate is how many orders a second were produced.
func (c course) sendRate() float64 { return c.slope(func(r reading) int64 { return r.sent }) }

func (c course) slope(get func(reading) int64) float64 {
	first, last := c[0], c[len(c)-1]
	return float64(get(last)-get(first)) / last.at.Sub(first.at).Seconds()
}

// meanLag is the mean of the readings' lags.
func (c course) meanLag() (sum float64) {
	for _, r := range c {
		sum += r.lag()
	}
	return sum / float64(len(c))
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

const (
	readingInterval = 250 * time.Millisecond
	readingsPerTrim = 4
)

// watch reads for so long. Meanwhile the broker drops processed records: it keeps
// them in memory, and collecting that garbage would take a core for a second from
// time to time, unlike a broker on disks.
func (f *flow) watch(ctx context.Context, duration time.Duration) (c course) {
	for until := time.Now().Add(duration); len(c) < 4 || time.Now().Before(until); {
		must.Succeed(retry.Sleep(ctx, readingInterval))
		c = append(c, f.read(ctx))
		if len(c)%readingsPerTrim == 0 {
			f.site.Broker.Trim(ctx, f.topic)
		}
	}
	return c
}

const longestDrain = 10 * time.Minute

// drain ends the load and returns how long it took until the tables and the cache
// had everything. Then it drops the records, which the broker keeps in memory.
func (f *flow) drain(ctx context.Context) (stored, cached time.Duration) {
	ctx, cancel := context.WithTimeoutCause(ctx, longestDrain, errors.New("the services do not catch up"))
	defer cancel()
	f.load.SetRate(0)
	began := time.Now()
	for {
		r := f.read(ctx)
		if r.stored >= r.sent && stored == 0 {
			stored = time.Since(began)
		}
		// What was produced a moment ago may not be acknowledged yet.
		if r.cached >= r.sent && time.Since(began) > 20*time.Millisecond {
			f.site.Broker.Trim(ctx, f.topic)
			return stored, time.Since(began)
		}
		must.Succeed(retry.Sleep(ctx, 10*time.Millisecond))
	}
}
