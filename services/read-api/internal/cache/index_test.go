package cache

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIndexEqualsAMap inserts, moves and removes at random, with fingerprints
// that hardly collide, ones that collide often, and ones that overflow segments.
func TestIndexEqualsAMap(t *testing.T) {
	for name, kinds := range map[string]uint32{"all kinds": 1 << fingerprintBits, "few": 5000, "very few": 3} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			fingerprintFor := func(n int) fingerprint {
				return fingerprint(rand.New(rand.NewPCG(7, uint64(n))).Uint32N(kinds) * (1 << fingerprintBits / kinds))
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
			require.Equal(t, len(want), x.entries)
			if name == "very few" {
				require.NotEmpty(t, x.overflow, "the case is not tested any more")
			} else {
				require.Empty(t, x.overflow)
			}
			for n, at := range want {
				require.True(t, x.has(fingerprintFor(n), fmt.Sprint(n), at))
			}
			for n, at := range want {
				x.remove(fingerprintFor(n), fmt.Sprint(n), at)
			}
			require.Zero(t, x.entries)
			for _, s := range x.directory {
				require.Zero(t, s.used)
			}
		})
	}
}

// TestIndexTakesFewBytesAtAnySize looks at each size on the way, since growth is
// where tables are emptiest.
func TestIndexTakesFewBytesAtAnySize(t *testing.T) {
	random, x := rand.New(rand.NewPCG(1, 1)), newIndex()
	for n := 1; n <= 200_000; n++ {
		x.insert(fingerprint(random.Uint32N(1<<fingerprintBits)), "", location(n))
		if n >= 2000 {
			require.Less(t, x.bytes()/int64(n), int64(30), "%d entries", n)
		}
	}
}
