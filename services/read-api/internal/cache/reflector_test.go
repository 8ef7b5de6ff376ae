package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// fakeSource is a table of versions with a log of changes; its position is the
// log's length. Faults are answered once each.
type fakeSource struct {
	mu       sync.Mutex
	orders   map[string]int
	log      []string // changed uids
	relist   string   // reason for which the next Tail refuses
	failure  error    // while set, everything fails
	unread   error    // of the next Check, after it has read
	tails    int
	inTail   func() // called within each Tail, without the lock
	onSnap   func() // called within each Snapshot, without the lock
	onTry    func() // and at its beginning
	snapshot int
	fates    []error // of the next Snapshots for a relist; errCut comes after two orders
	refusal  string  // of what was saved
	resumed  changes.Checkpoint
	torn     bool // the next Tail fails after it has put what changed
}

var errCut = errors.New("connection reset")

func newFakeSource(orders ...string) *fakeSource {
	s := &fakeSource{orders: map[string]int{}}
	for _, uid := range orders {
		s.orders[uid] = 1
	}
	return s
}

func (s *fakeSource) change(uid string, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version == 0 {
		delete(s.orders, uid)
	} else {
		s.orders[uid] = version
	}
	s.log = append(s.log, uid)
}

func (s *fakeSource) set(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
}

func (s *fakeSource) Snapshot(_ context.Context, sink changes.Sink, progress changes.Progress) (changes.Position, error) {
	s.mu.Lock()
	s.snapshot++
	hook, try := s.onSnap, s.onTry
	failure, position := s.failure, changes.Position{Horizon: uint64(len(s.log))}
	orders := maps.Clone(s.orders)
	held, relist := sink.(changes.Held)
	var fate error
	if relist && len(s.fates) > 0 {
		fate, s.fates = s.fates[0], s.fates[1:]
	}
	s.mu.Unlock()
	if try != nil {
		try()
	}
	if failure = cmp.Or(failure, fate); failure != nil && !errors.Is(failure, errCut) {
		return changes.Position{}, failure
	}
	for i, uid := range slices.Sorted(maps.Keys(orders)) {
		if failure != nil && i == 2 {
			return changes.Position{}, failure
		}
		if o := stored(uid, orders[uid]); !relist || !held.Same(o) {
			sink.Put(o)
		}
	}
	progress(int64(len(orders)), int64(len(orders)))
	if hook != nil {
		hook()
	}
	return position, nil
}

func stored(uid string, version int) changes.Order {
	return changes.Order{Order: &model.Order{OrderUID: uid}, Canonical: body(uid, version, 100)}
}

// Check gives found all orders, whatever the sample.
func (s *fakeSource) Check(ctx context.Context, from changes.Position, sink changes.Sink, sample changes.Sample, found changes.Sink) (changes.Round, error) {
	round, err := s.Tail(ctx, from, sink)
	if err != nil {
		return round, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid, version := range s.orders {
		found.Put(stored(uid, version))
	}
	for _, uid := range sample.UIDs {
		if _, ok := s.orders[uid]; !ok {
			found.Delete(uid)
		}
	}
	err, s.unread = s.unread, nil
	return round, err
}

func (s *fakeSource) Tail(_ context.Context, from changes.Position, sink changes.Sink) (changes.Round, error) {
	s.mu.Lock()
	hook := s.inTail
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return changes.Round{}, s.failure
	}
	if reason := s.relist; reason != "" {
		s.relist = ""
		return changes.Round{}, &changes.RelistError{Reason: reason}
	}
	s.tails++
	var round changes.Round
	for _, uid := range s.log[from.Horizon:] {
		if version, ok := s.orders[uid]; ok {
			sink.Put(stored(uid, version))
			round.Put++
		} else if sink.Delete(uid) {
			round.Deleted++
		}
	}
	if s.torn {
		s.torn = false
		return changes.Round{}, errCut
	}
	round.Position.Horizon = uint64(len(s.log))
	return round, nil
}

func (s *fakeSource) Mark(ctx context.Context, from changes.Position, sink changes.Sink) (changes.Round, []string, error) {
	round, err := s.Tail(ctx, from, sink)
	return round, []string{"stamp"}, err
}

func (s *fakeSource) Resume(ctx context.Context, c changes.Checkpoint, sink changes.Sink) (changes.Round, error) {
	s.mu.Lock()
	refusal := s.refusal
	s.resumed = c
	s.mu.Unlock()
	if refusal != "" {
		return changes.Round{}, &changes.RelistError{Reason: refusal}
	}
	return s.Tail(ctx, c.From, sink)
}

func (s *fakeSource) Close() {}

type fakeHealth struct {
	mu     sync.Mutex
	ready  bool
	detail string
}

func (h *fakeHealth) Ready(detail string) bool { return h.set(true, detail) }
func (h *fakeHealth) NotReady(why string) bool { return h.set(false, why) }
func (h *fakeHealth) set(ready bool, detail string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed := h.ready != ready
	h.ready, h.detail = ready, detail
	return changed
}

func (h *fakeHealth) get() (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ready, h.detail
}

type bundle struct {
	source    *fakeSource
	cache     *Cache
	reflector *Reflector
	health    *fakeHealth
	logged    *observer.ObservedLogs
	stop      func()
}

// refresh asks for a round; false.
func (b *bundle) refresh() bool {
	b.cache.Refresh()
	return false
}

// setup runs a reflector whose poll never comes unless poll says so.
func setup(t *testing.T, source *fakeSource, poll time.Duration, change ...func(*bundle, *ReflectorOptions)) *bundle {
	t.Helper()
	core, logged := observer.New(zapcore.InfoLevel)
	b := &bundle{source: source, cache: New(time.Hour), health: &fakeHealth{}, logged: logged}
	options := ReflectorOptions{Poll: poll, Batch: limits, Health: b.health, Log: zap.New(core)}
	for _, c := range change {
		c(b, &options)
	}
	b.reflector = NewReflector(source, b.cache, options)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.reflector.Run(ctx)
	}()
	b.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(b.stop)
	return b
}

func (b *bundle) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 20*time.Second, time.Millisecond, what)
}

func (b *bundle) version(uid string) int {
	lookup := b.cache.Get(uid, time.Now())
	if !lookup.Found {
		return 0
	}
	var version int
	var read string
	_, _ = fmt.Sscanf(string(lookup.Bytes()), `{"order_uid":%q,"version":%d,`, &read, &version)
	return version
}

const never = time.Hour

func TestChangesDuringTheSnapshotAreInBeforeReadersSeeIt(t *testing.T) {
	source := newFakeSource("a", "b", "c")
	source.onSnap = func() { // after the snapshot was taken
		source.change("a", 2)
		source.change("b", 0)
		source.change("d", 1)
	}
	b := setup(t, source, never)
	b.eventually(t, "synced", b.cache.HasSynced)
	require.Equal(t, []int{2, 0, 1, 1}, []int{b.version("a"), b.version("b"), b.version("c"), b.version("d")})
	require.True(t, b.cache.Get("b", time.Now()).Absent)
	b.eventually(t, "ready", func() bool {
		ready, _ := b.health.get()
		return ready
	})
}

// TestARingDuringARoundMakesAnotherRound rings while a round is under way, whose
// reading is over already for what the ring stands for.
func TestARingDuringARoundMakesAnotherRound(t *testing.T) {
	source := newFakeSource("a")
	b := setup(t, source, never)
	b.eventually(t, "synced", b.cache.HasSynced)

	inTail, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	source.set(func() {
		source.inTail = func() {
			once.Do(func() {
				close(inTail)
				<-goOn
			})
		}
	})
	before := b.reflector.Stats().Rounds
	b.cache.Refresh()
	<-inTail
	b.cache.Refresh()
	b.cache.Refresh()
	close(goOn)
	b.eventually(t, "two rounds", func() bool { return b.reflector.Stats().Rounds >= before+2 })
}

var limits = batch.Limits{Busy: 8, Period: 20 * time.Millisecond}

// TestRoundsRestUnderLoadOnly rings right after a round that brought many changes,
// and after one that brought few.
func TestRoundsRestUnderLoadOnly(t *testing.T) {
	for changed, rests := range map[int]time.Duration{limits.Busy: limits.Period, limits.Busy - 1: 0} {
		synctest.Test(t, func(t *testing.T) {
			source := newFakeSource()
			b := setup(t, source, never)
			synctest.Wait()
			for i := range changed {
				source.change(fmt.Sprint("order", i), 1)
			}
			b.cache.Refresh()
			synctest.Wait()
			require.Equal(t, 1, b.version("order0"), "the first round of a load is not put off")

			rung := time.Now()
			var began time.Time
			source.set(func() { source.inTail = func() { began = time.Now() } })
			source.change("late", 1)
			b.cache.Refresh()
			time.Sleep(2 * limits.Period)
			synctest.Wait() // for the round, as the race detector sees it
			require.Equal(t, rests, began.Sub(rung))
			require.Equal(t, 1, b.version("late"))
			period := min(rests/limits.Period, 1)
			require.NoError(t, testutil.CollectAndCompare(b.reflector.flushes, strings.NewReader(fmt.Sprintf(`
				# HELP orderhub_cache_flushes_total Rounds with changes, by what triggered them.
				# TYPE orderhub_cache_flushes_total counter
				orderhub_cache_flushes_total{trigger="arrival"} %d
				orderhub_cache_flushes_total{trigger="period"} %d
			`, 2-period, period)), "orderhub_cache_flushes_total"))
		})
	}
}

func TestThePollFindsWhatNobodyRangFor(t *testing.T) {
	source := newFakeSource("a")
	b := setup(t, source, 5*time.Millisecond)
	b.eventually(t, "synced", b.cache.HasSynced)
	source.change("a", 7)
	b.eventually(t, "the change", func() bool { return b.version("a") == 7 })
}

func TestRelistTakesAwayWhatIsGoneAndKeepsServingMeanwhile(t *testing.T) {
	source := newFakeSource("a", "b")
	b := setup(t, source, never)
	b.eventually(t, "synced", b.cache.HasSynced)

	during := make(chan int, 1)
	source.set(func() {
		delete(source.orders, "a") // without a trace in the log
		source.relist = "a table was truncated"
		source.onSnap = func() { during <- b.version("a") }
	})
	b.cache.Refresh()
	require.Equal(t, 1, <-during, "readers keep the old store until the new one is whole")
	b.eventually(t, "relisted", func() bool { return b.version("a") == 0 })
	require.Equal(t, 1, b.version("b"))
	require.EqualValues(t, 1, b.reflector.Stats().Relists)
	require.Equal(t, 1, b.logged.FilterMessage("reading all orders anew").Len())
}

// TestARelistGoesOnUntilItIsThrough waits for others, is cut in the middle, and loses the
// database. Behind its snapshot an order is deleted and made again.
func TestARelistGoesOnUntilItIsThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, seen := newFakeSource("a", "b", "c", "d"), &order{}
		b := setup(t, source, never, func(b *bundle, _ *ReflectorOptions) {
			seen.cache = b.cache
			b.cache.Subscribe(seen)
		})
		synctest.Wait()
		seen.told = nil
		attempts := 0
		source.set(func() {
			source.orders["a"], source.orders["e"] = 2, 1
			delete(source.orders, "b")
			source.relist = "a standby took over"
			source.fates = []error{&changes.BusyError{}, &changes.BusyError{}, errCut, errors.New("connection refused"), &changes.BusyError{}, nil}
			source.onTry = func() {
				attempts++
				known := b.cache.Get("unknown", time.Now())
				require.False(t, known.Absent, "a relist may be about to bring it")
				require.Positive(t, known.Outdated)
				require.False(t, b.cache.Current())
				require.Equal(t, map[bool]int{false: 1, true: 2}[attempts > 3], b.version("a"), "the part that was read is served")
				require.Equal(t, 1, b.version("b"), "what is gone stays until all is read")
				ready, detail := b.health.get()
				require.True(t, ready)
				if attempts == 2 {
					require.Contains(t, detail, "served from memory as of 2000-01-01T00:00:00Z: waiting for other replicas that read all orders anew")
				}
			}
			source.onSnap = func() {
				source.change("d", 0)
				source.change("d", 3)
				source.change("c", 0)
			}
		})
		b.cache.Refresh()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 6, attempts)
		require.Equal(t, []int{2, 0, 0, 3, 1}, []int{b.version("a"), b.version("b"), b.version("c"), b.version("d"), b.version("e")})
		require.Equal(t, []string{
			"begin false", "begin true", "put a true", "put e true", "delete b true", "relisted true",
			"begin false", "put d true", "put d false", "delete c true", "applied",
		}, seen.told, "each change once")
		require.True(t, b.cache.Current())
		require.True(t, b.cache.Get("unknown", time.Now()).Absent)
		require.True(t, b.cache.Stats().Complete)
		require.EqualValues(t, 1, b.reflector.Stats().Relists)
		require.Equal(t, 2, b.logged.FilterMessageSnippet("can't be read").Len(), "to wait for others is no failure")
	})
}

// TestARelistKnowsWhatItDoesNotKnow: subscribers were not told all changes if a round
// before it was torn, and if orders are not in memory.
func TestARelistKnowsWhatItDoesNotKnow(t *testing.T) {
	for name, c := range map[string]struct {
		torn  bool
		store StoreOptions
		known bool
	}{
		"known":  {known: true},
		"torn":   {torn: true},
		"budget": {store: StoreOptions{Bytes: 5000}},
	} {
		synctest.Test(t, func(t *testing.T) {
			source, seen := newFakeSource(), &order{}
			for i := range 100 {
				source.orders[fmt.Sprint("order", i)] = 1
			}
			b := setup(t, source, time.Second, func(b *bundle, o *ReflectorOptions) {
				o.Store = c.store
				seen.cache = b.cache
				b.cache.Subscribe(seen)
			})
			synctest.Wait()
			source.set(func() {
				source.torn = c.torn
				source.orders["order1"] = 2
				source.log = append(source.log, "order1")
			})
			// The torn round has put order1, and the relist finds it so.
			if c.torn {
				source.set(func() {
					source.inTail = func() {
						source.set(func() {
							if !source.torn {
								source.relist, source.inTail = "a standby took over", nil
							}
						})
					}
				})
			} else {
				source.set(func() { source.relist = "a standby took over" })
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.EqualValues(t, 1, b.reflector.Stats().Relists)
			require.Contains(t, seen.told[1:], fmt.Sprint("relisted ", c.known), name)
			require.NotContains(t, seen.told[1:], fmt.Sprint("relisted ", !c.known), name)
			if c.store.Bytes == 0 {
				require.Equal(t, 2, b.version("order1"))
			}
		})
	}
}

// TestUnseenChangesAreFoundAndCorrected changes orders without a trace, again and again.
// A difference leads to a relist at most once in so many checks.
func TestUnseenChangesAreFoundAndCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("same", "changed", "deleted")
		listening := &heard{}
		b := setup(t, source, time.Second, func(b *bundle, o *ReflectorOptions) {
			o.Check = time.Minute
			b.cache.Subscribe(listening)
		})
		synctest.Wait()
		source.set(func() {
			source.orders["changed"], source.orders["inserted"] = 2, 1
			delete(source.orders, "deleted")
		})
		time.Sleep(50 * time.Second)
		require.Equal(t, 1, b.version("changed"), "nobody has looked yet")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		require.Equal(t, []int{1, 2, 0, 1}, []int{b.version("same"), b.version("changed"), b.version("deleted"), b.version("inserted")})
		require.ElementsMatch(t, []string{"changed", "inserted", "deleted"}, listening.uids, "subscribers are told what differed, and nothing else")
		require.EqualValues(t, 3, b.reflector.Stats().Differences)
		require.EqualValues(t, 1, b.reflector.Stats().Relists)

		for version := 3; version < 9; version++ {
			source.set(func() { source.orders["changed"] = version })
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			require.Equal(t, version, b.version("changed"))
		}
		require.EqualValues(t, 9, b.reflector.Stats().Differences)
		require.EqualValues(t, 2, b.reflector.Stats().Relists, "one in ten minutes")
	})
}

// TestACheckThatFails must neither stop the changes nor hide what it has found.
func TestACheckThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("unseen", "seen")
		b := setup(t, source, time.Second, func(_ *bundle, o *ReflectorOptions) { o.Check = time.Minute })
		synctest.Wait()
		time.Sleep(50 * time.Second)
		source.set(func() {
			source.orders["unseen"] = 2
			source.unread = errors.New("connection reset")
		})
		time.Sleep(15 * time.Second)
		source.change("seen", 2)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, []int{2, 2}, []int{b.version("unseen"), b.version("seen")})
		require.EqualValues(t, 1, b.reflector.Stats().Differences)
		require.EqualValues(t, 1, b.reflector.Stats().Relists, "the failed round's subscribers were told nothing")
	})
}

// heard are the changes that a subscriber was told.
type heard struct{ uids []string }

func (h *heard) Put(o changes.Order, _ bool)   { h.uids = append(h.uids, o.OrderUID) }
func (h *heard) Delete(uid string, _ bool)     { h.uids = append(h.uids, uid) }
func (*heard) Begin(changes.Position, bool)    {}
func (*heard) Applied(changes.Position)        {}
func (*heard) Relisted(changes.Position, bool) {}

func TestARelistRightAfterTheSnapshotDropsIt(t *testing.T) {
	source := newFakeSource("a")
	source.relist = "a table was truncated during the snapshot"
	b := setup(t, source, never)
	b.eventually(t, "synced", b.cache.HasSynced)
	source.mu.Lock()
	defer source.mu.Unlock()
	require.Equal(t, 2, source.snapshot)
}

func TestAnOutageKeepsHitsAndIsSaidOnce(t *testing.T) {
	source := newFakeSource("a")
	b := setup(t, source, time.Millisecond)
	b.eventually(t, "synced", b.cache.HasSynced)

	source.set(func() { source.failure = errors.New("connection refused") })
	b.eventually(t, "said", func() bool { return b.logged.FilterMessageSnippet("can't be read").Len() == 1 })
	began := b.cache.Staleness(time.Now())
	b.eventually(t, "staleness grows", func() bool { return b.cache.Staleness(time.Now()) > began+300*time.Millisecond })
	require.Equal(t, 1, b.version("a"), "hits are still served")
	require.Equal(t, 1, b.logged.FilterMessageSnippet("can't be read").Len(), "once, not at every attempt")
	ready, detail := b.health.get()
	require.True(t, ready, "what serves hits stays ready")
	require.Contains(t, detail, "connection refused")

	source.change("a", 2)
	source.set(func() { source.failure = nil })
	b.eventually(t, "caught up", func() bool { return b.version("a") == 2 })
	require.Equal(t, 1, b.logged.FilterMessageSnippet("again").FilterLevelExact(zapcore.InfoLevel).Len())
}

func TestNothingIsKnownBeforeTheSnapshot(t *testing.T) {
	source := newFakeSource("a")
	source.failure = errors.New("the database has no schema yet")
	b := setup(t, source, never)
	b.eventually(t, "said in health", func() bool {
		_, detail := b.health.get()
		return detail == "waiting for the database: the database has no schema yet"
	})
	lookup := b.cache.Get("nobody", time.Now())
	require.False(t, lookup.Found || lookup.Absent)
	source.set(func() { source.failure = nil })
	b.eventually(t, "synced by itself", b.cache.HasSynced)
}

func TestAbsenceNeedsFreshnessAndAllKeys(t *testing.T) {
	cache, now := New(time.Second), time.Now()
	store := NewStore(StoreOptions{})
	cache.advance(store, now)
	require.True(t, cache.Get("x", now.Add(900*time.Millisecond)).Absent)
	require.False(t, cache.Get("x", now.Add(time.Second)).Absent, "the last round began too long ago")
	store.LeaveOut()
	require.False(t, cache.Get("x", now).Absent, "the store doesn't hold every key")
}

// TestALongSnapshotSaysHowFarItIs reports three times, and looks at the log and
// at what /readyz says.
func TestALongSnapshotSaysHowFarItIs(t *testing.T) {
	core, logged := observer.New(zapcore.InfoLevel)
	health := &fakeHealth{}
	source := newFakeSource("a")
	r := NewReflector(source, New(time.Hour), ReflectorOptions{Poll: never, Health: health, Log: zap.New(core)})
	f := &feed{store: NewStore(StoreOptions{}), started: time.Now().Add(-2 * time.Second)}
	for _, step := range []struct {
		done, expected int64
		detail         string
	}{
		{250_000, 1_000_000, "restoring: 250000 of about 1000000 orders (25 %)"},
		{1_200_000, 1_000_000, "restoring: 1200000 orders so far"}, // the estimate was too low
	} {
		r.logProgress(f, step.done, step.expected)
		r.showProgress(f, step.done, step.expected)
		ready, detail := health.get()
		require.False(t, ready)
		require.Equal(t, step.detail, detail)
	}
	entries := logged.FilterMessage("restoring the cache").All()
	require.Len(t, entries, 2)
	said := entries[0].ContextMap()
	require.EqualValues(t, 250_000, said["orders"])
	require.EqualValues(t, 25, said["percent"])
	require.InDelta(t, 125_000, said["orders_per_second"], 5000)
	require.NotContains(t, entries[1].ContextMap(), "percent")
}

// fakeMemory counts what it is told.
type fakeMemory struct {
	mu      sync.Mutex
	orders  int64
	settled int
}

func (m *fakeMemory) Follow(orders int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.orders = orders
}

func (m *fakeMemory) Relist() {}

func (m *fakeMemory) Dropped(int64) {}

func (m *fakeMemory) Settle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settled++
}

func TestMemoryIsSettledBeforeTheServiceIsReady(t *testing.T) {
	memory, health := &fakeMemory{}, &fakeHealth{}
	r := NewReflector(newFakeSource("a"), New(time.Hour), ReflectorOptions{Poll: never, Health: health, Log: zap.NewNop(), Memory: memory})
	f, err := r.snapshot(t.Context())
	require.NoError(t, err)
	ready, _ := health.get()
	require.False(t, ready)
	require.Zero(t, memory.settled)
	require.NoError(t, r.round(t.Context(), f))
	ready, _ = health.get()
	require.True(t, ready)
	require.Equal(t, 1, memory.settled)
	require.Equal(t, f.store.Stats().Bytes, memory.orders)
}

// order records what a subscriber is told, and how old the cache said it was then.
type order struct {
	cache *Cache
	told  []string
	ages  []time.Duration
}

func (o *order) note(what string) {
	o.told, o.ages = append(o.told, what), append(o.ages, o.cache.Staleness(time.Now()))
}
func (o *order) Begin(_ changes.Position, relist bool) {
	o.note(fmt.Sprint("begin ", relist))
}
func (o *order) Put(put changes.Order, changed bool) {
	o.note(fmt.Sprint("put ", put.OrderUID, " ", changed))
}
func (o *order) Delete(uid string, changed bool)         { o.note(fmt.Sprint("delete ", uid, " ", changed)) }
func (o *order) Applied(changes.Position)                { o.note("applied") }
func (o *order) Relisted(_ changes.Position, known bool) { o.note(fmt.Sprint("relisted ", known)) }

// TestSubscribersLearnOfChangesBeforeTheCacheVouchesForThem: a list from the index must have
// a round's changes, which it applies when the round is complete, once the cache says that it
// knows them.
func TestSubscribersLearnOfChangesBeforeTheCacheVouchesForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, c := newFakeSource("a", "b"), New(time.Hour)
		seen := &order{cache: c}
		c.Subscribe(seen)
		r := NewReflector(source, c, ReflectorOptions{Poll: never, Health: &fakeHealth{}, Log: zap.NewNop()})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx)
		synctest.Wait()
		time.Sleep(time.Minute)
		source.change("a", 1) // as it was
		source.change("b", 2)
		source.change("gone", 0)
		c.Refresh()
		synctest.Wait()
		require.Equal(t, []string{"relisted false", "begin false", "put a false", "put b true", "delete gone false", "applied"}, seen.told)
		for i, age := range seen.ages[1:] {
			require.Equal(t, time.Minute, age, seen.told[i+1])
		}
		require.Zero(t, c.Staleness(time.Now()))
		cancel()
		synctest.Wait()
	})
}
