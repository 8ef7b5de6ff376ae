package cache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIndexEqualsAMap inserts, moves and removes at random, with fingerprints
// that hardly collide, ones that collide often, and ones that overflow segments.
func TestIndexEqualsAMap(t *testing.T) {
	for name, kinds := range map[string]uint32{"all kinds": 1 << 31, "few": 5000, "very few": 3} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			fingerprintFor := func(n int) fingerprint {
				return fingerprint(rand.New(rand.NewPCG(7, uint64(n))).Uint32N(kinds))
			}
			x, want := newIndex(), map[int]location{}
			next := location(1)
			for range 30_000 {
				n := random.IntN(6000)
				uid, fp := fmt.Sprint(n), fingerprintFor(n)
				at, there := want[n]
				next++
				switch {
				case !there:
					x.insert(fp, uid, next)
					want[n] = next
				case random.IntN(3) == 0:
					x.remove(fp, uid, at)
					delete(want, n)
				default:
					x.move(fp, uid, at, next)
					want[n] = next
				}
				if there {
					require.False(t, x.has(fp, uid, at), "the old place is still known")
				}
			}
			require.Equal(t, len(want), x.entries())
			if kinds < 1<<31 {
				require.NotEmpty(t, x.others, "the case is not tested any more")
			}
			for n, at := range want {
				require.True(t, x.has(fingerprintFor(n), fmt.Sprint(n), at))
			}
			for n, at := range want {
				x.remove(fingerprintFor(n), fmt.Sprint(n), at)
			}
			require.Zero(t, x.entries())
		})
	}
}

// TestIndexTakesFewBytesAtAnySize compares what the index says with what the heap
// grows by. Right after growth, tables are emptiest.
func TestIndexTakesFewBytesAtAnySize(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for _, entries := range []int{20_000, 28_000, 29_500, 40_000, 57_000, 59_000, 114_000, 116_000, 160_000} {
		before, indexes, said := heap(), make([]index, 10), int64(0)
		for i := range indexes {
			indexes[i] = newIndex()
			for n := range entries {
				indexes[i].insert(fingerprint(random.Uint32()), "", location(n))
			}
			said += indexes[i].bytes()
		}
		taken := heap() - before
		require.Less(t, taken/int64(10*entries), int64(23), "%d entries", entries)
		require.Less(t, float64(taken), 1.08*float64(said), "%d entries: it takes more than it says", entries)
		runtime.KeepAlive(indexes)
	}
}
