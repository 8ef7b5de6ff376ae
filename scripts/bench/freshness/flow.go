package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
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
func (b *runner) withFlow(ctx context.Context, use func(*flow) error) (err error) {
	b.flows++
	f := &flow{site: b.site, topic: fmt.Sprintf("fresh-%d", b.flows), preload: int64(b.settings.Preload)}
	var drop func()
	if f.database, drop, err = b.site.Server.Fresh(ctx); err != nil {
		return err
	}
	defer drop()
	if err := b.site.Broker.CreateTopic(ctx, f.topic, b.settings.Partitions, "delete"); err != nil {
		return err
	}
	var environment []string
	if b.settings.Smoke { // on a busy machine a round may take longer than the default
		environment = append(environment, "CACHE_MAX_STALENESS=1m")
	}
	if f.reader, err = b.site.StartReader(ctx, f.database, environment...); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.reader.Stop()) }()
	if f.worker, err = b.site.StartWorker(ctx, f.topic, f.database); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.worker.Stop()) }()
	if f.load, err = rig.StartLoad(ctx, b.site.Broker, f.topic, b.orders, loadSeed); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.load.Stop()) }()
	return use(f)
}

func (f *flow) sent() int64 { return f.load.Acked() + f.singles.Load() }

func (f *flow) read(ctx context.Context) (r reading, err error) {
	r.sent = f.sent()
	worker, err := f.worker.Metrics(ctx)
	if err != nil {
		return r, err
	}
	reader, err := f.reader.Metrics(ctx)
	if err != nil {
		return r, err
	}
	r.stored, r.cached = int64(worker[rig.MetricStored]), int64(reader[rig.MetricCached])-f.preload
	r.at = time.Now()
	return r, rig.CheckNew(worker)
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
		if len(c)%readingsPerTrim == 0 {
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
// had everything. Then it drops the records, which the broker keeps in memory.
func (f *flow) drain(ctx context.Context) (stored, cached time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, longestDrain, errors.New("the services do not catch up"))
	defer cancel()
	f.load.SetRate(0)
	began := time.Now()
	for {
		r, err := f.read(ctx)
		if err != nil {
			return 0, 0, err
		}
		if r.stored >= r.sent && stored == 0 {
			stored = time.Since(began)
		}
		// What was produced a moment ago may not be acknowledged yet.
		if r.cached >= r.sent && time.Since(began) > 20*time.Millisecond {
			return stored, time.Since(began), f.site.Broker.Trim(ctx, f.topic)
		}
		if err := retry.Sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}

// readThroughs is how many requests the reader has answered from the tables.
func (f *flow) readThroughs(ctx context.Context) (int64, error) {
	stats, err := f.reader.Stats(ctx)
	return stats.ReadThroughs, err
}

// users of CPU time, in the order of [costs].
var users = [...]string{"database", "ingest-worker", "read-api", "broker", "producer and probes"}

// costs are CPU times, and what they were spent on.
type costs struct {
	orders int64
	at     time.Time
	took   time.Duration
	cpu    [len(users)]time.Duration
}

// costs are those so far.
func (f *flow) costs() (c costs, err error) {
	if c.cpu[0], err = procfs.TreeCPU(f.site.Server.Pid()); err != nil {
		return c, err
	}
	for i, pid := range []int{f.worker.Pid(), f.reader.Pid(), f.site.Broker.Pid(), os.Getpid()} {
		used, err := procfs.Of(pid)
		if err != nil {
			return c, err
		}
		c.cpu[1+i] = used.CPU
	}
	c.orders, c.at = f.sent(), time.Now()
	return c, nil
}

func (c costs) minus(before costs) costs {
	c.orders, c.took = c.orders-before.orders, c.at.Sub(before.at)
	for i := range c.cpu {
		c.cpu[i] -= before.cpu[i]
	}
	return c
}

// latencies are what probes found.
type latencies struct {
	mu                          sync.Mutex
	produced, readable, applied []time.Duration
	throughs                    int64 // requests that were answered from the tables instead
}

// probe sends single orders and requests them from the API until it has them.
//
// Until then the answer is 404 from the reader's memory: a reader in sync knows that
// it does not have the order, and does not query the tables. So a 200 says that the
// cache has the order, not only the tables, and a request costs nothing else.
type probe struct {
	flow     *flow
	producer *kgo.Client
	stamper  *rig.Stamper
	client   *http.Client
	sql      *pgx.Conn
	rest     time.Duration // between two requests: results may be too large by that
}

// newProbe connects a probe of its own number.
func (b *runner) newProbe(ctx context.Context, f *flow, number int, rest time.Duration) (p *probe, err error) {
	p = &probe{flow: f, rest: rest, client: &http.Client{Transport: &http.Transport{}}}
	if p.stamper, err = rig.NewStamper(b.orders, loadSeed+1+uint8(number)); err != nil {
		return nil, err
	}
	if p.sql, err = pgx.Connect(ctx, f.database); err != nil {
		return nil, err
	}
	p.producer, err = b.site.Broker.NewProducer(f.topic, 0)
	return p, err
}

func (p *probe) close() {
	p.producer.Close()
	p.client.CloseIdleConnections()
	_ = p.sql.Close(context.Background()) // it has no open transaction
}

// order times an order until it is acknowledged, and until it can be read.
func (p *probe) order(ctx context.Context, found *latencies) error {
	p.flow.singles.Add(1)
	uid, value := p.stamper.Next()
	began := time.Now()
	if err := p.producer.ProduceSync(ctx, &kgo.Record{Key: []byte(uid), Value: value}).FirstErr(); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	produced := time.Since(began)
	err := p.flow.reader.Await(ctx, p.client, uid, "", http.StatusNotFound, p.rest)
	readable := time.Since(began)
	found.mu.Lock()
	defer found.mu.Unlock()
	found.produced, found.readable = append(found.produced, produced), append(found.readable, readable)
	return err
}

// update changes an order by SQL, and times it from the commit until the change can
// be read. Meanwhile the reader answers 304 to the order's old tag.
func (p *probe) update(ctx context.Context, found *latencies, uid string) error {
	before, err := p.flow.reader.Order(ctx, p.client, uid, "")
	if err != nil {
		return err
	}
	unique := fmt.Sprint("CHANGED", time.Now().UnixNano()) // no probe has written it before
	if _, err := p.sql.Exec(ctx, "UPDATE orders SET track_number = $2 WHERE order_uid = $1", uid, unique); err != nil {
		return fmt.Errorf("change an order: %w", err)
	}
	committed := time.Now()
	err = p.flow.reader.Await(ctx, p.client, uid, before.Header.Get("ETag"), http.StatusNotModified, p.rest)
	applied := time.Since(committed)
	found.mu.Lock()
	defer found.mu.Unlock()
	found.applied = append(found.applied, applied)
	return err
}

// timeNotify measures a bare notification from its commit to another connection:
// the lower bound for a reader that is woken by one.
func timeNotify(ctx context.Context, database string, count int) (times []time.Duration, err error) {
	var conns [2]*pgx.Conn
	for i := range conns {
		if conns[i], err = pgx.Connect(ctx, database); err != nil {
			return nil, err
		}
		defer func() { _ = conns[i].Close(context.WithoutCancel(ctx)) }()
	}
	if _, err := conns[0].Exec(ctx, "LISTEN bench_notify"); err != nil {
		return nil, err
	}
	for range count {
		time.Sleep(5 * time.Millisecond)
		if _, err := conns[1].Exec(ctx, "NOTIFY bench_notify"); err != nil {
			return nil, err
		}
		committed := time.Now()
		if _, err := conns[0].WaitForNotification(ctx); err != nil {
			return nil, err
		}
		times = append(times, time.Since(committed))
	}
	return times, nil
}
