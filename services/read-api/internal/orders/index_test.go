package orders

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// stored is tables with a log of changes, whose length is the position.
type stored struct {
	mu      sync.Mutex
	orders  map[string]*model.Order
	updated map[string]uint32
	log     []string
	relist  bool   // the next Tail cannot tell the changes
	many    bool   // the next relist finds too many differences to give each by itself
	torn    bool   // the next Tail fails at its end
	inTail  func() // called at the end of each Tail
}

func (s *stored) order(uid string) changes.Order {
	o := s.orders[uid]
	return changes.Order{Order: o, Canonical: model.AppendCanonical(nil, o), Updated: s.updated[uid]}
}

func (s *stored) Snapshot(_ context.Context, sink changes.Sink, _ changes.Progress) (changes.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, relist := sink.(changes.Held)
	for uid := range s.orders {
		o := s.order(uid)
		switch {
		case relist && held.Same(o):
		case relist && s.many:
			held.Replace(o)
		default:
			sink.Put(o)
		}
	}
	return changes.Position{Horizon: uint64(len(s.log))}, nil
}

func (s *stored) Tail(_ context.Context, from changes.Position, sink changes.Sink) (round changes.Round, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relist {
		s.relist = false
		return round, &changes.RelistError{Reason: "a test"}
	}
	for _, uid := range s.log[from.Horizon:] {
		if _, ok := s.orders[uid]; ok {
			sink.Put(s.order(uid))
		} else {
			sink.Delete(uid)
		}
	}
	if s.inTail != nil {
		s.inTail()
	}
	if s.torn {
		s.torn = false
		return round, errors.New("torn")
	}
	round.Position.Horizon = uint64(len(s.log))
	return round, nil
}

func (s *stored) Check(ctx context.Context, from changes.Position, sink changes.Sink, _ changes.Sample, _ changes.Sink) (changes.Round, error) {
	return s.Tail(ctx, from, sink)
}

func (s *stored) Mark(ctx context.Context, from changes.Position, sink changes.Sink) (changes.Round, []string, error) {
	round, err := s.Tail(ctx, from, sink)
	return round, nil, err
}

func (s *stored) Resume(ctx context.Context, at changes.Checkpoint, sink changes.Sink) (changes.Round, error) {
	return s.Tail(ctx, at.From, sink)
}

func (s *stored) Close() {}

type anyHealth struct{}

func (anyHealth) Ready(string) bool    { return false }
func (anyHealth) NotReady(string) bool { return false }

// applied says after each round where the cache is.
type applied chan uint64

func (applied) Begin(changes.Position, bool)        {}
func (applied) Put(changes.Order, bool)             {}
func (applied) Delete(string, bool)                 {}
func (a applied) Applied(to changes.Position)       { a <- to.Horizon }
func (applied) Relisted(_ changes.Position, _ bool) {}

// stopwatch measures for how long the index holds up the cache: one is told of changes before
// it, and another one, which reads the first, after it.
type stopwatch struct {
	first *stopwatch // nil: this is it
	began time.Time
	took  time.Duration
}

func (s *stopwatch) click() {
	if s.first == nil {
		s.began = time.Now()
	} else {
		s.first.took += time.Since(s.first.began)
	}
}

func (s *stopwatch) Begin(changes.Position, bool)    {}
func (s *stopwatch) Put(changes.Order, bool)         { s.click() }
func (s *stopwatch) Delete(string, bool)             { s.click() }
func (s *stopwatch) Applied(changes.Position)        { s.click() }
func (s *stopwatch) Relisted(changes.Position, bool) {}

// running is an index over a cache that is filled.
type running struct {
	*index
	source *stored
	rounds applied
	held   stopwatch
}

func run(t testing.TB, source cache.Source, options cache.StoreOptions, change func(*index)) *running {
	c := cache.New(time.Hour)
	r := &running{rounds: make(applied, 1)}
	c.Subscribe(&r.held)
	r.index = newIndex(c)
	c.Subscribe(&stopwatch{first: &r.held})
	r.source, _ = source.(*stored)
	change(r.index)
	c.Subscribe(r.rounds)
	reflector := cache.NewReflector(source, c, cache.ReflectorOptions{Store: options, Poll: time.Hour, Health: anyHealth{}, Log: zap.NewNop()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = reflector.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		for stopped := false; !stopped; {
			select {
			case <-r.rounds:
			case <-done:
				stopped = true
			}
		}
		r.stop()
	})
	return r
}

// awaitReady waits until lists come from memory, without a change.
func (r *running) awaitReady() {
	for range r.rounds {
		if r.ready.Load() {
			return
		}
	}
}

// settle waits until the index has all changes.
func (r *running) settle() {
	r.cache.Refresh()
	for at := range r.rounds {
		if at == uint64(len(r.source.log)) && r.ready.Load() && r.cache.Current() {
			return
		}
		r.cache.Refresh() // the cache vouches for a round only after it was applied
	}
}

// change puts an order, or deletes it if o is nil.
func (s *stored) change(uid string, o *model.Order, updated uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o == nil {
		delete(s.orders, uid)
	} else {
		s.orders[uid], s.updated[uid] = o, updated
	}
	s.log = append(s.log, uid)
}

var moment = time.Date(2024, 5, 1, 10, 0, 0, 1000, time.UTC)

func one(random *rand.Rand, of ...string) string { return of[random.IntN(len(of))] }

// someUpdate is when an order was updated: at four times, if it is known.
func someUpdate(random *rand.Rand) uint32 { return uint32(random.IntN(5)) }

func someOrder(random *rand.Rand, uid string) *model.Order {
	o := &model.Order{
		OrderUID: uid, CustomerID: one(random, "a", "b", "cc", "dd"), TrackNumber: one(random, "t", "u", "vv"), Locale: one(random, "en", "de"),
		DeliveryService: one(random, "meest", "post", "x"), DateCreated: moment.Add(time.Duration(random.IntN(4)) * time.Microsecond),
	}
	for range 1 + random.IntN(4) {
		o.Items = append(o.Items, model.Item{Price: random.Int64N(5), Brand: one(random, "Sabo", "Zara", "H&M"), NmID: random.Int64N(9), Status: 200 + random.Int64N(3)})
	}
	if random.IntN(5) > 0 {
		o.Delivery = &model.Delivery{Name: one(random, "Test Testov", "TEST  testov", "Anna"), Email: one(random, "a@x.de", "A@x.de", "bb@y.de"), Phone: one(random, "+1", "+22", "+2 2")}
	}
	if random.IntN(5) > 0 {
		o.Payment = &model.Payment{Currency: one(random, "EUR", "USD", "CHF"), Amount: random.Int64N(5) * (1 << 31)}
	}
	return o
}

func someFilter(random *rand.Rand) (f Filter) {
	some := func(do func()) {
		if random.IntN(4) == 0 {
			do()
		}
	}
	at := func() *time.Time {
		at := moment.Add(time.Duration(random.IntN(6)-1) * time.Microsecond)
		return &at
	}
	amount := func() *int64 {
		n := random.Int64N(5) * (1 << 31)
		return &n
	}
	some(func() { f.CustomerID = one(random, "a", "b", "cc", "nobody") })
	some(func() { f.TrackNumber = one(random, "t", "u", "none") })
	several := func(of ...string) (values []string) {
		for range 1 + random.IntN(3) {
			values = append(values, one(random, of...))
		}
		return values
	}
	some(func() { f.Locales = several("en", "de", "fr") })
	some(func() { f.DeliveryServices = several("meest", "post", "none") })
	some(func() { f.Currencies = several("EUR", "USD", "JPY") })
	some(func() { f.Brands = several("Sabo", "Zara", "none") })
	some(func() { f.NmIDs = []int64{random.Int64N(10)} })
	some(func() { f.NmIDs = append(f.NmIDs, random.Int64N(10)) })
	some(func() { f.Statuses = []int64{199 + random.Int64N(4)} })
	some(func() { f.Email = one(random, "a@x.de", "bb@y.de", "none") })
	some(func() { f.Phone = one(random, "+1", "+22", "+3") })
	some(func() { f.Name = one(random, "test testov", "anna", "none") })
	some(func() { f.NamePrefix = one(random, "test", "a", "none") })
	some(func() { f.Sort = Sort(random.IntN(6)) })
	some(func() { f.CreatedFrom = at() })
	some(func() { f.CreatedTo = at() })
	update := func() *time.Time {
		at := time.Unix(random.Int64N(7)-1, random.Int64N(2))
		return &at
	}
	some(func() { f.UpdatedFrom = update() })
	some(func() { f.UpdatedTo = update() })
	some(func() { f.AmountMin = amount() })
	some(func() { f.AmountMax = amount() })
	return f
}

// naive is what a filter's list has.
func (s *stored) naive(f Filter) (bodies []string) {
	var all []*model.Order
	for _, o := range s.orders {
		if f.Matches(o, s.updated[o.OrderUID]) {
			all = append(all, o)
		}
	}
	rank := func(o *model.Order) int64 {
		switch {
		case f.Sort == LastUpdatedFirst || f.Sort == FirstUpdatedFirst:
			return int64(s.updated[o.OrderUID])
		case f.Sort != LargestFirst && f.Sort != SmallestFirst || o.Payment == nil:
			return 0
		}
		return o.Payment.Amount
	}
	slices.SortFunc(all, func(a, b *model.Order) int {
		if f.Sort.down() {
			a, b = b, a
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.DateCreated.Compare(b.DateCreated), strings.Compare(a.OrderUID, b.OrderUID))
	})
	for _, o := range all {
		bodies = append(bodies, string(model.AppendCanonical(nil, o)))
	}
	return bodies
}

// suggestions is what Suggest finds.
func (s *stored) suggestions(text string, personal bool) []Suggestion {
	var found []Suggestion
	for _, uid := range slices.Sorted(maps.Keys(s.orders)) {
		if strings.HasPrefix(uid, text) && len(found) < MaxSuggestions {
			found = append(found, Suggestion{SuggestedOrder, uid, 1})
		}
	}
	track, customer := 0, 0
	for _, o := range s.orders {
		if o.TrackNumber == text {
			track++
		}
		if o.CustomerID == text {
			customer++
		}
	}
	found = append(found, Suggestion{SuggestedTrackNumber, text, min(track, MaxSuggestedOrders)})
	if personal {
		found = append(found, Suggestion{SuggestedCustomer, text, min(customer, MaxSuggestedOrders)})
	}
	return arrange(found, text)
}

// walk reads a list to its end.
func walk(t *testing.T, x *index, f Filter, limit int) (bodies []string) {
	t.Helper()
	var after *Key
	for {
		page, ok := x.list(f, after, limit)
		require.True(t, ok)
		require.LessOrEqual(t, len(page.Orders), limit)
		require.True(t, page.Next == nil || after == nil || *page.Next != *after, "a page ends where it began: %+v", after)
		for i, body := range page.Orders {
			require.Contains(t, string(body), `{"order_uid":"`+page.UIDs[i]+`"`)
			bodies = append(bodies, string(body))
		}
		if after = page.Next; after == nil {
			return bodies
		}
	}
}

// TestMemoryListsWhatIsThere compares lists from memory with the orders themselves, while these
// change in every way: many have the same time, and nearly all hashes are shared.
func TestMemoryListsWhatIsThere(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel() // most of the time is a reflector's pause after an error
			random := rand.New(rand.NewPCG(seed, 1))
			source := &stored{orders: map[string]*model.Order{}, updated: map[string]uint32{}}
			uids := 40 + random.IntN(1500)
			uid := func() string { return fmt.Sprintf("%s%d", strings.Repeat("uid-", random.IntN(7)), random.IntN(uids)) }
			for range random.IntN(uids) {
				uid := uid()
				source.orders[uid], source.updated[uid] = someOrder(random, uid), someUpdate(random)
			}
			r := run(t, source, cache.StoreOptions{Compress: seed%2 == 1}, func(x *index) {
				if seed%3 > 0 {
					x.hash = func(text string) uint32 { return uint32(len(text)) << 8 }
				}
				if seed%4 > 0 {
					x.most = 1 + random.IntN(40*recordCost)
				}
				x.leaf = 60 + random.IntN(240)
				if seed%4 > 1 {
					x.same = random.IntN(20)
				}
				if seed%3 < 2 {
					x.narrow = random.IntN(2 * uids)
				}
				if seed%5 > 1 {
					x.least = 1 + random.IntN(60)
				}
			})
			for range 20 {
				for range random.IntN(uids / 4) {
					uid := uid()
					switch same := source.orders[uid]; random.IntN(6) {
					case 0, 1:
						source.change(uid, nil, 0)
					case 2:
						source.change(uid, same, someUpdate(random))
					default:
						source.change(uid, someOrder(random, uid), someUpdate(random))
					}
				}
				source.mu.Lock()
				switch random.IntN(10) {
				case 0:
					source.relist, source.many = true, true
				case 1:
					source.relist, source.many = true, false
				case 2:
					source.torn = true
				case 3:
					for uid := range maps.Keys(source.orders) {
						if random.IntN(10) > 0 {
							delete(source.orders, uid)
							source.log = append(source.log, uid)
						}
					}
				}
				source.mu.Unlock()
				r.settle()
				require.Equal(t, source.naive(Filter{}), walk(t, r.index, Filter{}, 100))
				r.mu.RLock()
				require.True(t, r.table.posts.wide || r.table.used <= r.narrow)
				r.mu.RUnlock()
				for range 4 {
					text, personal := one(random, uid(), uid()[:1], "uid", "uid-uid-", "a", "t", "~", "nobody"), random.IntN(3) > 0
					found, ok := r.suggest(text, personal)
					require.True(t, ok)
					require.Equal(t, source.suggestions(text, personal), arrange(found, text), text)
				}
				for range 20 {
					f := someFilter(random)
					want := source.naive(f)
					require.Equal(t, want, walk(t, r.index, f, 1+random.IntN(30)), "%+v", f)
					n, exact, ok := r.count(f)
					require.True(t, exact && ok && int(n) == len(want), "%d instead of %d: %+v", n, len(want), f)
				}
			}
		})
	}
}

// TestMemoryListsWhileOrdersChange walks lists while other orders than theirs change.
func TestMemoryListsWhileOrdersChange(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	source := &stored{orders: map[string]*model.Order{}, updated: map[string]uint32{}}
	for i := range 400 {
		uid := fmt.Sprintf("kept-%d", i)
		source.orders[uid] = someOrder(random, uid)
		source.orders[uid].Entry = "kept"
	}
	kept := func(bodies []string) []string {
		return slices.DeleteFunc(bodies, func(body string) bool { return !strings.Contains(body, `"entry":"kept"`) })
	}
	filters := map[*Filter][]string{}
	for range 10 {
		f := someFilter(random)
		filters[&f] = source.naive(f)
	}
	r := run(t, source, cache.StoreOptions{}, func(*index) {})
	r.settle()
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for range 100 {
			for range 50 {
				uid := fmt.Sprintf("kept-%d-not", random.IntN(400))
				if random.IntN(2) == 0 {
					source.change(uid, nil, 0)
				} else {
					source.change(uid, someOrder(random, uid), someUpdate(random))
				}
			}
			r.settle()
		}
	}()
	walked := 0
	for busy := true; busy || walked == 0; walked++ {
		select {
		case <-changed:
			busy = false
		default:
		}
		for f, want := range filters {
			var bodies []string
			for after, more := (*Key)(nil), true; more; {
				page, ok := r.list(*f, after, 7)
				if !ok {
					continue // the database has it
				}
				for _, body := range page.Orders {
					bodies = append(bodies, string(body))
				}
				after, more = page.Next, page.Next != nil
			}
			require.Equal(t, strings.Join(want, "\n"), strings.Join(kept(bodies), "\n"), "%+v", *f)
		}
	}
}

// TestMemoryListsAreOfOneRound asks in the middle of a round, when records are ahead of the
// lists: what has changed is not listed as if it were of the last round.
func TestMemoryListsAreOfOneRound(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	source := &stored{orders: map[string]*model.Order{}, updated: map[string]uint32{}}
	for _, uid := range []string{"a", "b", "c", "d"} {
		o := someOrder(random, uid)
		o.CustomerID = uid
		source.orders[uid] = o
	}
	r := run(t, source, cache.StoreOptions{}, func(*index) {})
	r.settle()
	before := source.naive(Filter{CustomerID: "d"})
	later := *source.orders["a"]
	later.DateCreated = later.DateCreated.Add(time.Hour)
	asked := false
	source.mu.Lock() // the round has all of it
	source.orders["a"], source.orders["e"] = &later, &model.Order{OrderUID: "e", CustomerID: "e", DateCreated: moment}
	delete(source.orders, "b")
	source.log = append(source.log, "a", "b", "e")
	source.inTail = func() {
		asked, source.inTail = true, nil
		for _, f := range []Filter{{}, {CustomerID: "a"}, {CustomerID: "b"}} {
			_, ok := r.list(f, nil, 10)
			assert.False(t, ok, "the database has it")
		}
		page, _ := r.list(Filter{CustomerID: "d"}, nil, 10)
		assert.Equal(t, before[0], string(bytes.Join(page.Orders, nil)))
		page, ok := r.list(Filter{CustomerID: "e"}, nil, 10)
		assert.True(t, ok && page.Orders == nil, "it comes with its round")
	}
	source.mu.Unlock()
	r.settle()
	require.True(t, asked)
	require.Equal(t, source.naive(Filter{}), walk(t, r.index, Filter{}, 10))
}

// following is a subscriber after the index, as streams are.
type following struct {
	applied
	relisted func(known bool)
}

func (following) Applied(changes.Position)                  {}
func (f following) Relisted(_ changes.Position, known bool) { f.relisted(known) }

// TestMemoryHasARelistBeforeStreams asks at the end of a relist: a stream's snapshot may begin
// there.
func TestMemoryHasARelistBeforeStreams(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	source := &stored{orders: map[string]*model.Order{"a": someOrder(random, "a"), "b": someOrder(random, "b")}}
	asked := false
	r := run(t, source, cache.StoreOptions{}, func(x *index) {
		x.cache.Subscribe(following{relisted: func(known bool) {
			if known {
				asked = true
				page, ok := x.list(Filter{}, nil, 10)
				assert.True(t, ok)
				var bodies []string
				for _, body := range page.Orders {
					bodies = append(bodies, string(body))
				}
				assert.Equal(t, source.naive(Filter{}), bodies)
			}
		}})
	})
	r.settle()
	source.mu.Lock()
	delete(source.orders, "a")
	source.orders["c"] = someOrder(random, "c")
	source.log, source.relist = append(source.log, "a", "c"), true
	source.mu.Unlock()
	r.settle()
	require.True(t, asked)
}
