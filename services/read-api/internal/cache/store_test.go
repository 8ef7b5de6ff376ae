package cache

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

// body is a stand-in for canonical JSON: the version shows in every byte of it.
func body(uid string, version, size int) []byte {
	text := fmt.Sprintf(`{"order_uid":%q,"version":%d,`, uid, version)
	return []byte(text + strings.Repeat(fmt.Sprint(version%10), max(0, size-len(text)-1)) + "}")
}

// updated is when an order got this body.
func updated(body []byte) uint32 { return crc32.ChecksumIEEE(body) }

// canonicalOf is an order's canonical JSON; the version is its sm_id.
func canonicalOf(random *rand.Rand, uid string, version int) []byte {
	o := randomOrder(random, uid, random.IntN(5) == 0)
	o.SmID = int64(version)
	return model.AppendCanonical(nil, o)
}

// TestStoreEqualsAMap changes stores and a map alike, at random.
func TestStoreEqualsAMap(t *testing.T) {
	stores := map[string]func() *Store{
		"plain":      func() *Store { return NewStore(StoreOptions{}) },
		"compressed": func() *Store { return NewStore(StoreOptions{Compress: true}) },
		"all hashes equal": func() *Store {
			return newStore(StoreOptions{}, func(string) uint64 { return 42 })
		},
		"few hashes": func() *Store {
			return newStore(StoreOptions{}, func(uid string) uint64 { return uint64(uid[len(uid)-1]%4) << 40 })
		},
	}
	for name, newOne := range stores {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			store, want := newOne(), map[string][]byte{}
			for step := range 5000 {
				if step%500 == 450 {
					relist(t, random, store, want, step)
				}
				uid := fmt.Sprintf("uid-%d", random.IntN(300))
				if random.IntN(20) == 0 {
					uid = fmt.Sprintf(`odd "%d\`, random.IntN(10))
				}
				switch random.IntN(10) {
				case 0, 1, 2:
					_, existed := want[uid]
					require.Equal(t, existed, store.Delete(uid), "step %d", step)
					delete(want, uid)
				case 3: // the same again
					if old, ok := want[uid]; ok {
						require.False(t, store.Put(uid, old, updated(old)), "step %d", step)
						require.True(t, store.Put(uid, old, updated(old)+1), "updated again without another change")
						require.False(t, store.Same(uid, old, updated(old)))
						require.True(t, store.Put(uid, old, updated(old)))
					}
				case 4, 5, 6:
					want[uid] = canonicalOf(random, uid, step)
					require.True(t, store.Put(uid, want[uid], updated(want[uid])), "step %d", step)
				default:
					size := 50 + random.IntN(3000)
					if random.IntN(200) == 0 {
						size = 600_000 // a chunk of its own
					}
					want[uid] = body(uid, step, size)
					require.True(t, store.Put(uid, want[uid], updated(want[uid])), "step %d", step)
				}
			}
			requireHolds(t, store, want)
			stats := store.Stats()
			require.EqualValues(t, len(want), stats.Orders)
			require.Zero(t, stats.Evicted)
			require.EqualValues(t, jsonBytes(want), stats.JSONBytes)
			require.Equal(t, name == "compressed", stats.DictionaryBytes > 0)
			for uid := range want {
				require.True(t, store.Delete(uid))
			}
			require.Zero(t, store.Stats().Orders)
			require.Zero(t, store.Stats().JSONBytes)
		})
	}
}

// relist compares a store with a snapshot of what has changed unseen. It is cut in the
// middle at first. The early snapshot may have orders that the later one lacks.
func relist(t *testing.T, random *rand.Rand, store *Store, want map[string][]byte, step int) {
	t.Helper()
	for attempt := range 2 {
		told := map[string]bool{} // for each order that differed
		for uid := range want {
			if random.IntN(4) == 0 {
				delete(want, uid)
			}
		}
		for i := range 40 {
			uid := fmt.Sprintf("uid-%d", random.IntN(400))
			want[uid] = canonicalOf(random, uid, step+i)
		}
		before := map[string]bool{}
		for i := range 400 {
			uid := fmt.Sprintf("uid-%d", i)
			_, before[uid] = store.Get(uid)
		}
		store.Relist()
		left := len(want) / 2 // until it is cut
		for uid, canonical := range want {
			record, had := store.Get(uid)
			differs := !had || !bytes.Equal(record.Bytes(), canonical)
			require.Equal(t, !differs, store.Same(uid, canonical, updated(canonical)))
			require.Equal(t, differs, store.Put(uid, canonical, updated(canonical)))
			if left--; attempt == 0 && left == 0 {
				break
			}
		}
		require.False(t, store.Complete("unknown"), "it has not been compared")
		if attempt == 0 {
			continue
		}
		store.Sweep(false, func(uid string) {
			require.NotContains(t, want, uid)
			require.True(t, store.Delete(uid))
			require.False(t, told[uid])
			told[uid] = true
		})
		for uid, had := range before {
			require.Equal(t, had && want[uid] == nil, told[uid], uid)
		}
		require.True(t, store.Complete("unknown"))
	}
	requireHolds(t, store, want)
	require.EqualValues(t, len(want), store.Stats().Orders)
}

// TestARelistWithABudgetKeepsWhatChangedLast gives a store that is full a snapshot, the
// oldest changes first, which has more than fits. What it lacks goes.
func TestARelistWithABudgetKeepsWhatChangedLast(t *testing.T) {
	const orders, size, budget = 6000, 1000, 4 << 20
	store := NewStore(StoreOptions{Bytes: budget})
	uid := func(i int) string { return fmt.Sprintf("uid-%d", i) }
	for i := range orders {
		store.Put(uid(i), body(uid(i), 1, size), 0)
	}
	for i := range orders { // some were not in memory, and some have changed
		store.Put(uid(i), body(uid(i), 1, size), 0)
	}
	store.Put("gone", body("gone", 1, size), 0)
	store.Relist()
	for i := range orders {
		version := 1
		if i%10 == 0 {
			version = 2
		}
		store.Put(uid(i), body(uid(i), version, size), 0)
	}
	var gone []string
	store.Sweep(true, func(uid string) {
		gone = append(gone, uid)
		store.Delete(uid)
	})
	require.LessOrEqual(t, len(gone), 1) // or it was pushed out
	stats := store.Stats()
	require.LessOrEqual(t, stats.Bytes, int64(budget))
	require.Greater(t, stats.Orders, int64(budget/size*7/10))
	_, held := store.Get("gone")
	require.False(t, held)
	require.False(t, store.Complete("gone"))
	for i := orders - budget/size/3; i < orders; i++ {
		record, ok := store.Get(uid(i))
		require.True(t, ok, "%d of %d has changed late", i, orders)
		require.Contains(t, string(record.Bytes()), fmt.Sprintf(`"version":%d`, 1+(i+9)%10/9))
	}
}

func jsonBytes(orders map[string][]byte) (sum int) {
	for _, canonical := range orders {
		sum += len(canonical)
	}
	return sum
}

func requireHolds(t *testing.T, store *Store, want map[string][]byte) {
	t.Helper()
	for uid, canonical := range want {
		record, ok := store.Get(uid)
		require.True(t, ok, uid)
		require.True(t, bytes.Equal(canonical, record.Bytes()), uid)
		require.Equal(t, ETag(canonical), record.ETag(), uid)
		require.Equal(t, len(canonical), record.Len(), uid)
		require.Equal(t, updated(canonical), record.Updated(), uid)
	}
	_, ok := store.Get("nobody")
	require.False(t, ok)
}

// TestChurnReusesSpace changes orders many times over, deletes some and adds
// others, and then deletes most. Whatever happens, memory stays near what the
// orders are as JSON.
func TestChurnReusesSpace(t *testing.T) {
	const orders = 8000
	for name, most := range map[string]float64{"off": 1.12, "zstd": 0.40} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, 3))
			store := NewStore(StoreOptions{Compress: name == "zstd"})
			store.shards = store.shards[:1] // as large as those of half a million orders
			uid := func(i int) string { return fmt.Sprintf("%015xtest", i) }
			for i := range orders {
				store.Put(uid(i), canonicalOf(random, uid(i), 0), 0)
			}
			requireNear(t, store, "filled", most)
			for version := range 2 * orders {
				i := random.IntN(orders)
				switch random.IntN(5) {
				case 0:
					store.Delete(uid(i))
				default:
					store.Put(uid(i), canonicalOf(random, uid(i), version), 0)
				}
			}
			requireNear(t, store, "changed", most)
			full := store.Stats()
			for i := range orders {
				if i%10 != 0 {
					store.Delete(uid(i))
				}
			}
			left := store.Stats()
			require.Less(t, left.Orders, full.Orders/8)
			require.Less(t, left.Bytes, full.Bytes/3)
		})
	}
}

func requireNear(t *testing.T, store *Store, when string, most float64) {
	t.Helper()
	stats := store.Stats()
	ratio, index := float64(stats.Bytes)/float64(stats.JSONBytes), float64(stats.IndexBytes)/float64(stats.Orders)
	t.Logf("%s: %d orders, %.3f × JSON, of it %.1f bytes an order for the index", when, stats.Orders, ratio, index)
	require.Less(t, ratio, most, "dead records are not given back")
	require.Less(t, index, 40.0)
}

// TestTheCollectorDoesNotSeeOrders counts what the collector has to look at.
func TestTheCollectorDoesNotSeeOrders(t *testing.T) {
	objects := func() uint64 {
		runtime.GC()
		sample := []metrics.Sample{{Name: "/gc/heap/objects:objects"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	const orders = 100_000
	store := NewStore(StoreOptions{})
	before := objects()
	for i := range orders {
		uid := fmt.Sprintf("uid-%d", i)
		store.Put(uid, body(uid, 1, 800), 0)
	}
	more := int64(objects()) - int64(before)
	t.Logf("%d objects more for %d orders", more, orders)
	require.Less(t, more, int64(orders/20), "orders, or pointers to them, are objects of their own")
	runtime.KeepAlive(store)
}

// TestBudgetKeepsTheLast puts more than fits, and changes old orders.
func TestBudgetKeepsTheLast(t *testing.T) {
	const orders, size, budget = 20_000, 1000, 4 << 20
	store := NewStore(StoreOptions{Bytes: budget})
	for i := range orders {
		uid := fmt.Sprintf("uid-%d", i)
		store.Put(uid, body(uid, 1, size), 0)
	}
	stats := store.Stats()
	require.LessOrEqual(t, stats.Bytes, int64(budget))
	require.Greater(t, stats.Orders, int64(budget/size*7/10), "the budget is hardly used")
	require.EqualValues(t, orders, stats.Orders+stats.Evicted)
	// Each shard has its part of the budget, and chance deals the orders out: the
	// margins are so wide that no deal comes near them.
	for i := range orders {
		uid := fmt.Sprintf("uid-%d", i)
		_, ok := store.Get(uid)
		switch {
		case i < orders-2*budget/size:
			require.False(t, ok, "%s arrived early", uid)
			require.False(t, store.Complete(uid))
		case i > orders-budget/size/4:
			require.True(t, ok, "%s arrived late", uid)
		}
	}
	// What changes arrives anew, and pushing out what is older must not go by
	// the age that it had.
	last := fmt.Sprintf("uid-%d", orders-1)
	for version := range 2 * orders {
		store.Put(last, body(last, version, size), 0)
	}
	require.Greater(t, store.Stats().Orders, int64(budget/size*6/10), "one order's changes pushed the others out")
}

func TestBudgetTooSmallForARecord(t *testing.T) {
	store := NewStore(StoreOptions{Bytes: 100_000})
	require.True(t, store.Put("a", body("a", 1, 500), 0))
	require.True(t, store.Complete("a"))
	require.True(t, store.Put("a", body("a", 2, 200_000), 0))
	_, ok := store.Get("a")
	require.False(t, ok, "the old version must not stay")
	require.False(t, store.Complete("a"))
	require.True(t, store.Put("b", body("b", 1, 500), 0))
	_, ok = store.Get("b")
	require.True(t, ok)
}

// TestReadersSeeWholeRecords reads while everything moves. Run it with -race.
func TestReadersSeeWholeRecords(t *testing.T) {
	for name, options := range map[string]StoreOptions{
		"off": {}, "zstd": {Compress: true}, "budget": {Bytes: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) { testReaders(t, NewStore(options)) })
	}
}

func testReaders(t *testing.T, store *Store) {
	t.Helper()
	uids := make([]string, 300)
	for i := range uids {
		uids[i] = fmt.Sprintf("uid-%d", i)
		store.Put(uids[i], body(uids[i], 0, 500), 0)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for reader := range 2 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(reader)))
			newest := map[string]int{}
			for {
				select {
				case <-done:
					return
				default:
				}
				uid := uids[random.IntN(len(uids))]
				record, ok := store.Get(uid)
				if !ok {
					continue // it is deleted now and then
				}
				canonical := record.Bytes()
				var version int
				var read string
				if _, err := fmt.Sscanf(string(canonical), `{"order_uid":%q,"version":%d,`, &read, &version); err != nil || read != uid {
					t.Errorf("%s reads as %.60s: %v", uid, canonical, err)
					return
				}
				if version < newest[uid] || !bytes.Equal(canonical, body(uid, version, len(canonical))) || record.ETag() != ETag(canonical) {
					t.Errorf("%s went back or is torn: version %d after %d", uid, version, newest[uid])
					return
				}
				newest[uid] = version
			}
		})
	}
	random := rand.New(rand.NewPCG(7, 7))
	for version := range 6000 {
		uid := uids[random.IntN(len(uids))]
		if random.IntN(10) == 0 {
			store.Delete(uid)
		} else {
			store.Put(uid, body(uid, version, 300+random.IntN(2000)), 0)
		}
	}
	close(done)
	readers.Wait()
}

func TestGetAllocatesNothing(t *testing.T) {
	store := NewStore(StoreOptions{})
	store.Put("uid", body("uid", 1, 1000), 0)
	length := 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		record, _ := store.Get("uid")
		length += len(record.Bytes()) + len(record.ETag())
	}))
}

// TestViewOfACompressedOrderAllocatesNothing has the buffers in their pool
// already, as they nearly always are.
func TestViewOfACompressedOrderAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
	random := rand.New(rand.NewPCG(5, 5))
	store := NewStore(StoreOptions{Compress: true})
	for i := range sampleOrders {
		uid := fmt.Sprintf("%015xtest", i)
		store.Put(uid, canonicalOf(random, uid, 1), 0)
	}
	length, uid := 0, fmt.Sprintf("%015xtest", 7)
	record, _ := store.Get(uid)
	require.True(t, record.Compressed())
	view := func(canonical []byte) { length += len(canonical) }
	require.Zero(t, testing.AllocsPerRun(100, func() {
		record, _ := store.Get(uid)
		length += len(record.ETag())
		record.View(view)
	}))
}

func BenchmarkViewOfACompressedOrder(b *testing.B) {
	random := rand.New(rand.NewPCG(5, 5))
	store := NewStore(StoreOptions{Compress: true})
	uids := make([]string, 20_000)
	for i := range uids {
		uids[i] = fmt.Sprintf("%015xtest", i)
		store.Put(uids[i], model.AppendCanonical(nil, randomOrder(random, uids[i], false)), 0)
	}
	stats := store.Stats()
	length := 0
	view := func(canonical []byte) { length += len(canonical) }
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		record, _ := store.Get(uids[i%len(uids)])
		record.View(view)
	}
	b.ReportMetric(float64(stats.JSONBytes)/float64(stats.Bytes), "ratio")
}

// TestAfterARelistWhatChangedFirstIsPushedOutFirst: older orders that a relist brings do
// not outlive those that it has found unchanged.
func TestAfterARelistWhatChangedFirstIsPushedOutFirst(t *testing.T) {
	const size, budget = 1000, 4 << 20
	store := newSeededStore(StoreOptions{Bytes: budget}, 1) // how many a shard gets depends on the seed
	put := func(name string, orders int) {
		for i := range orders {
			uid := fmt.Sprint(name, i)
			store.Put(uid, body(uid, 1, size), 0)
		}
	}
	put("newer", 1000)
	store.Relist()
	put("older", 1000)
	put("newer", 1000)
	store.Sweep(true, func(uid string) { store.Delete(uid) })
	put("newest", 2000)
	held := func(name string) (count int) {
		for i := range 1000 {
			if _, ok := store.Get(fmt.Sprint(name, i)); ok {
				count++
			}
		}
		return count
	}
	require.Less(t, held("older"), 900)
	require.Greater(t, held("newer"), 990)
}
