package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// Source is where a Reflector reads. A *changes.Source is one.
type Source interface {
	// Snapshot gives all orders as of one moment, and the position to tail from. To a
	// changes.Held it gives those that differ; a *changes.BusyError says that others
	// take their turn first.
	Snapshot(context.Context, changes.Sink, changes.Progress) (changes.Position, error)
	// Tail gives what was committed since a position. A *changes.RelistError says
	// that this needs a Snapshot.
	Tail(context.Context, changes.Position, changes.Sink) (changes.Round, error)
	// Check is Tail, and gives the second sink a sample of the orders as of the same
	// moment.
	Check(context.Context, changes.Position, changes.Sink, changes.Sample, changes.Sink) (changes.Round, error)
	// Mark is Tail, and reads the newest stamps as of the same moment.
	Mark(context.Context, changes.Position, changes.Sink) (changes.Round, []string, error)
	// Resume is Tail from what was saved. A *changes.RelistError says that this cannot be
	// used.
	Resume(context.Context, changes.Checkpoint, changes.Sink) (changes.Round, error)
	// Close gives back what the source holds; it may be used again.
	Close()
}

// Health is told how the cache is doing; a *health.Component is one.
type Health interface {
	Ready(detail string) (changed bool)
	NotReady(why string) (changed bool)
}

// Memory is told what the orders take; a *gcpacer.Pacer is one.
type Memory interface {
	// Follow is told how many bytes they take now. It is called often.
	Follow(orders int64)
	// Relist is called before a relist, which has to do with little memory.
	Relist()
	// Dropped is told how many bytes of the orders' memory a relist has dropped. It is
	// called often.
	Dropped(bytes int64)
	// Settle is called when a snapshot is in: what it needed can be given back.
	Settle()
}

// ReflectorOptions of a Reflector.
type ReflectorOptions struct {
	// Memory may be nil.
	Memory Memory
	Store  StoreOptions
	Save   SaveOptions
	// Poll is the longest time between two rounds, less a jitter of a fifth.
	Poll time.Duration
	// Check is how often a sample of the orders is compared with the tables; 0: never.
	Check time.Duration
	// Batch says when a round begins under load.
	Batch  batch.Limits
	Health Health
	Log    *zap.Logger
	// Fatal is called if the loop ends before Stop. It may be nil.
	Fatal func(error)
	// Metrics get the figures of the cache and its rounds; nil: none.
	Metrics prometheus.Registerer
}

const (
	longestRetry = time.Second
	// While an outage lasts the log is reminded of it so often.
	outageReminder = time.Minute
	// A long snapshot says how far it is so often.
	progressLog    = 5 * time.Second
	progressHealth = 200 * time.Millisecond
)

// Reflector fills a Cache: a snapshot, then rounds of changes, each woken by
// Cache.Refresh or by the poll; a new snapshot when the source can't tell the changes;
// patience with everything else.
type Reflector struct {
	*lifecycle.Loop // of Run

	source  Source
	cache   *Cache
	options ReflectorOptions
	policy  *batch.Policy // of the rounds
	flushes *prometheus.CounterVec
	visible *prometheus.HistogramVec
	log     *zap.Logger

	saver           saver
	outage          outage
	checked, mended time.Time // when a sample was, and when a difference led to a relist
	differ          bool      // a sample differed since the last snapshot
	figure          figures
}

type figures struct {
	rounds, changes, relists, differences, triggersOff atomic.Int64
	restored                                           atomic.Pointer[Restore]
}

// Restore is what the last snapshot was.
type Restore struct {
	Orders   int64
	Duration time.Duration
	At       time.Time
}

// NewReflector returns a reflector, which fills the cache from Start to Stop.
func NewReflector(source Source, cache *Cache, options ReflectorOptions) *Reflector {
	r := &Reflector{
		source: source, cache: cache, options: options, log: options.Log, policy: batch.New(options.Batch, time.Time{}),
	}
	r.register(options.Metrics)
	r.Loop = lifecycle.NewLoop("cache", r.Run, options.Fatal)
	return r
}

// sink puts orders into a store, and then tells subscribers.
type sink struct {
	store       *Store
	subscribers []Subscriber
	told        bool // them of anything
}

func (s *sink) Put(o changes.Order) (changed bool) {
	changed = s.store.Put(o.OrderUID, o.Canonical, o.Updated)
	for _, one := range s.subscribers {
		s.told = true
		one.Put(o, changed)
	}
	return changed
}

func (s *sink) Delete(uid string) (changed bool) {
	changed = s.store.Delete(uid)
	for _, one := range s.subscribers {
		s.told = true
		one.Delete(uid, changed)
	}
	return changed
}

func (s *sink) LeaveOut() { s.store.LeaveOut() }

// held is the sink of a relist, a changes.Held.
type held struct {
	sink
	memory  Memory // nil: none
	leftOut bool
	untold  atomic.Bool // of a change
}

func (h *held) LeaveOut() { h.leftOut = true }

func (h *held) Same(o changes.Order) bool {
	return h.store.Same(o.OrderUID, o.Canonical, o.Updated)
}

func (h *held) Replace(o changes.Order) {
	if h.store.Put(o.OrderUID, o.Canonical, o.Updated) {
		h.untold.Store(true)
	}
	if h.memory != nil {
		h.memory.Dropped(h.store.dropped.Swap(0))
	}
}

// roomShare is which part of the orders' memory a relist may use beside them, where that
// is more than minRoom.
const (
	roomShare = 32
	minRoom   = 4 << 20
)

func (h *held) Room() int64 { return max(minRoom, h.store.Stats().Bytes/roomShare) }

// feed is a store with the position that it is at.
type feed struct {
	store     *Store
	position  changes.Position
	started   time.Time // of its snapshot
	began     time.Time // the round that read position
	published bool      // readers have it
	relisting bool      // a relist is called for
	// gap says that subscribers were not told of all that the store has got since
	// position, so that they must not take the next relist's changes for all.
	gap bool
	// checkpoint is that of the file that the store was read from, until it is verified.
	checkpoint *changes.Checkpoint
}

// Run fills the cache until ctx ends, whatever fails.
func (r *Reflector) Run(ctx context.Context) error {
	defer r.source.Close()
	backoff := retry.NewBackoff(longestRetry)
	current := r.load(ctx)
	defer func() { r.saveAtStop(current) }()
	for ctx.Err() == nil {
		var err error
		switch {
		case current == nil:
			current, err = r.snapshot(ctx)
		case current.relisting:
			err = r.relist(ctx, current)
		default:
			err = r.round(ctx, current)
		}
		var relist *changes.RelistError
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && current.published:
			backoff.Reset()
			r.saveIfDue(current)
			r.wait(ctx)
			continue
		case err == nil:
			continue // right on to the changes since the snapshot
		case errors.As(err, &relist) && current.checkpoint != nil:
			r.refuseSaved(relist.Reason)
			current = nil
			continue
		case errors.As(err, &relist):
			r.log.Warn("reading all orders anew", zap.String("reason", relist.Reason))
			r.figure.relists.Add(1)
			if current.published {
				r.callForRelist(current)
				continue
			}
			current = nil
		default:
			r.failed(err)
		}
		_ = backoff.Wait(ctx) // the loop looks at ctx
	}
	return nil
}

// wait returns when a refresh was requested or the poll is due, but not before the batch
// policy allows the next round.
func (r *Reflector) wait(ctx context.Context) {
	if left := r.policy.UntilNext(time.Now()); left > 0 && retry.Sleep(ctx, left) != nil {
		return
	}
	jitter := time.Duration(rand.Int64N(int64(r.options.Poll)/5 + 1))
	timer := time.NewTimer(r.options.Poll - jitter)
	defer timer.Stop()
	select {
	case <-r.cache.refresh:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (r *Reflector) snapshot(ctx context.Context) (*feed, error) {
	f := &feed{store: NewStore(r.options.Store)}
	if err := r.fill(ctx, f, &sink{store: f.store}); err != nil {
		return nil, err
	}
	return f, nil
}

// fill puts a snapshot into a feed's sink.
func (r *Reflector) fill(ctx context.Context, f *feed, into changes.Sink) (err error) {
	f.started = time.Now()
	toLog, toHealth := rate.Sometimes{Interval: progressLog}, rate.Sometimes{Interval: progressHealth}
	toLog.Do(func() {}) // the first line is after a whole interval
	f.position, err = r.source.Snapshot(ctx, into, func(done, expected int64) {
		toLog.Do(func() { r.logProgress(f, done, expected) })
		toHealth.Do(func() { r.showProgress(f, done, expected) })
	})
	return err
}

// callForRelist has a published feed compared with a new snapshot.
func (r *Reflector) callForRelist(f *feed) {
	f.relisting = true
	f.gap = f.gap || !r.cache.Stats().Complete
	r.cache.relisting.Store(true)
	for _, s := range r.cache.subscribers {
		s.Begin(f.position, true)
	}
}

// relist compares a feed with a new snapshot, and continues with the changes after it. If it
// fails, the store has some of the snapshot, and the next attempt brings the rest.
func (r *Reflector) relist(ctx context.Context, f *feed) error {
	if r.options.Memory != nil {
		r.options.Memory.Relist()
	}
	f.store.Relist()
	into := &held{sink: sink{store: f.store, subscribers: r.cache.subscribers}, memory: r.options.Memory}
	err := r.fill(ctx, f, into)
	f.gap = f.gap || into.untold.Load()
	if err != nil {
		return err
	}
	f.store.Sweep(into.leftOut, func(uid string) { into.Delete(uid) })
	known := !f.gap && r.cache.Stats().Complete
	f.relisting, f.gap, f.began = false, false, f.started
	for _, s := range r.cache.subscribers {
		s.Relisted(f.position, known)
	}
	r.restored(f)
	return r.round(ctx, f)
}

// round brings a feed up to date, and gives it to readers when it wasn't yet.
func (r *Reflector) round(ctx context.Context, f *feed) error {
	began := time.Now()
	into := &sink{store: f.store}
	if f.published {
		into.subscribers = r.cache.subscribers
	}
	for _, s := range into.subscribers {
		s.Begin(f.position, false)
	}
	round, err := r.read(ctx, f, into)
	if err != nil {
		f.gap = f.gap || into.told
		return err
	}
	f.position, f.gap = round.Position, false
	r.figure.rounds.Add(1)
	r.figure.changes.Add(int64(round.Put + round.Deleted))
	r.measure(f, round)
	f.began = began
	for _, s := range into.subscribers { // first: what they hold is then at least as new as the cache says
		s.Applied(f.position)
	}
	r.cache.advance(f.store, began)
	if !f.published {
		for _, s := range r.cache.subscribers {
			s.Relisted(f.position, false)
		}
		f.published = true
		r.restored(f)
		f.checkpoint = nil
	}
	r.policy.Add(round.Put+round.Deleted, 0)
	trigger := r.policy.Flush(began)
	if round.Put+round.Deleted > 0 {
		r.flushes.WithLabelValues(string(trigger)).Inc()
		r.followMemory(f.store)
		r.log.Debug("changes applied", zap.Int("orders", round.Put), zap.Int("deletions", round.Deleted),
			zap.Duration("duration_seconds", time.Since(began)))
	}
	if away := r.outage.over(); away > 0 {
		r.log.Info("reading changes again", zap.Duration("duration_seconds", away))
	}
	r.reportTriggers(round.TriggersOff)
	return r.mend()
}

// restored is called when a snapshot is in.
func (r *Reflector) restored(f *feed) {
	r.checked, r.differ = time.Now(), false
	r.followMemory(f.store)
	if r.options.Memory != nil {
		r.options.Memory.Settle()
	}
	stats := f.store.Stats()
	took := time.Since(f.started)
	r.figure.restored.Store(&Restore{Orders: stats.Orders, Duration: took, At: time.Now()})
	fields := []zap.Field{zap.Int64("orders", stats.Orders), zap.Int64("bytes", stats.Bytes), zap.Duration("duration_seconds", took)}
	if stats.Evicted > 0 || f.store.partial.Load() {
		fields = append(fields, zap.String("budget", "not all orders fit CACHE_BYTES: the others are read from the database"))
	}
	if f.checkpoint != nil {
		fields = append(fields, zap.String("file", r.savedPath()))
	}
	r.log.Info("cache restored", fields...)
}

// followMemory tells what the orders take.
func (r *Reflector) followMemory(store *Store) {
	if r.options.Memory != nil {
		r.options.Memory.Follow(store.Stats().Bytes + r.cache.indexBytes.Load())
	}
}

// ReflectorStats are a Reflector's figures.
type ReflectorStats struct {
	Rounds  int64 // rounds of changes that were completed
	Changes int64 // orders that these put or deleted
	Relists int64 // snapshots after the first one
	// Differences are orders of samples that had changed unseen.
	Differences int64
	TriggersOff int64 // changes.Round's, of the last round
	Restore     Restore
}

// Stats may be asked for at any time.
func (r *Reflector) Stats() ReflectorStats {
	stats := ReflectorStats{
		Rounds: r.figure.rounds.Load(), Changes: r.figure.changes.Load(), Relists: r.figure.relists.Load(),
		Differences: r.figure.differences.Load(), TriggersOff: r.figure.triggersOff.Load(),
	}
	if restore := r.figure.restored.Load(); restore != nil {
		stats.Restore = *restore
	}
	return stats
}
