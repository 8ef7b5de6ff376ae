package cache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// body is a stand-in for canonical JSON: the version shows in every byte of it.
func body(uid string, version, size int) []byte {
	text := fmt.Sprintf(`{"order_uid":%q,"version":%d,`, uid, version)
	return []byte(text + strings.Repeat(fmt.Sprint(version%10), max(0, size-len(text)-1)) + "}")
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
			return newStore(StoreOptions{}, func(uid string) uint64 { return uint64(uid[len(uid)-1] % 4) })
		},
	}
	for name, newOne := range stores {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			store, want := newOne(), map[string][]byte{}
			for step := range 20_000 {
				uid := fmt.Sprintf("uid-%d", random.IntN(300))
				switch random.IntN(10) {
				case 0, 1, 2:
					_, existed := want[uid]
					require.Equal(t, existed, store.Delete(uid), "step %d", step)
					delete(want, uid)
				case 3: // the same again
					if old, ok := want[uid]; ok {
						require.False(t, store.Put(uid, old), "step %d", step)
					}
				default:
					size := 50 + random.IntN(3000)
					if random.IntN(200) == 0 {
						size = 600_000 // a chunk of its own
					}
					want[uid] = body(uid, step, size)
					require.True(t, store.Put(uid, want[uid]), "step %d", step)
				}
			}
			requireHolds(t, store, want)
			stats := store.Stats()
			require.EqualValues(t, len(want), stats.Orders)
			require.Zero(t, stats.Evicted)
			for uid := range want {
				require.True(t, store.Delete(uid))
			}
			require.Zero(t, store.Stats().Orders)
		})
	}
}

func requireHolds(t *testing.T, store *Store, want map[string][]byte) {
	t.Helper()
	for uid, canonical := range want {
		record, ok := store.Get(uid)
		require.True(t, ok, uid)
		require.True(t, bytes.Equal(canonical, record.Bytes()), uid)
		require.Equal(t, ETag(canonical), record.ETag(), uid)
		require.Equal(t, len(canonical), record.Len(), uid)
	}
	_, ok := store.Get("nobody")
	require.False(t, ok)
}

// TestChurnReusesSpace changes every order many times over, and deletes most.
func TestChurnReusesSpace(t *testing.T) {
	const orders, size = 20_000, 1000
	store := NewStore(StoreOptions{})
	for version := range 10 {
		for i := range orders {
			uid := fmt.Sprintf("uid-%d", (i*7919)%orders)
			store.Put(uid, body(uid, version, size))
		}
	}
	full := store.Stats()
	require.EqualValues(t, orders, full.Orders)
	perOrder := float64(full.Bytes) / orders
	t.Logf("%.0f bytes for an order of %d bytes", perOrder, size)
	require.Less(t, perOrder, 1.4*size, "dead records are not given back")

	for i := range orders * 9 / 10 {
		store.Delete(fmt.Sprintf("uid-%d", i))
	}
	left := store.Stats()
	require.EqualValues(t, orders/10, left.Orders)
	require.Less(t, left.Bytes, full.Bytes/2)
}

// TestBudgetKeepsTheLast puts more than fits, and changes old orders.
func TestBudgetKeepsTheLast(t *testing.T) {
	const orders, size, budget = 20_000, 1000, 4 << 20
	store := NewStore(StoreOptions{Bytes: budget})
	for i := range orders {
		uid := fmt.Sprintf("uid-%d", i)
		store.Put(uid, body(uid, 1, size))
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
		store.Put(last, body(last, version, size))
	}
	require.Greater(t, store.Stats().Orders, int64(budget/size*6/10), "one order's changes pushed the others out")
}

func TestBudgetTooSmallForARecord(t *testing.T) {
	store := NewStore(StoreOptions{Bytes: 100_000})
	require.True(t, store.Put("a", body("a", 1, 500)))
	require.True(t, store.Complete("a"))
	require.True(t, store.Put("a", body("a", 2, 200_000)))
	_, ok := store.Get("a")
	require.False(t, ok, "the old version must not stay")
	require.False(t, store.Complete("a"))
	require.True(t, store.Put("b", body("b", 1, 500)))
	_, ok = store.Get("b")
	require.True(t, ok)
}

// TestReadersSeeWholeRecords reads while everything moves. Run it with -race.
func TestReadersSeeWholeRecords(t *testing.T) {
	store := NewStore(StoreOptions{})
	uids := make([]string, 200)
	for i := range uids {
		uids[i] = fmt.Sprintf("uid-%d", i)
		store.Put(uids[i], body(uids[i], 0, 500))
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
					t.Errorf("%s is missing", uid)
					return
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
	for version := range 60_000 {
		uid := uids[random.IntN(len(uids))]
		store.Put(uid, body(uid, version, 300+random.IntN(2000)))
	}
	close(done)
	readers.Wait()
}

func TestGetAllocatesNothing(t *testing.T) {
	store := NewStore(StoreOptions{})
	store.Put("uid", body("uid", 1, 1000))
	length := 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		record, _ := store.Get("uid")
		length += len(record.Bytes()) + len(record.ETag())
	}))
}
