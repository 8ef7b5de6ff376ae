package orders

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

const leafOfTests = 255

// half is the key of numbers in tests: neighbours have the same one.
func half(_ uint16, h handle) uint64 { return uint64(h / 2) }

func items(t *tree[handle], down bool) (all []handle) {
	t.walk(spot{}, t.end(), down, nil, func(h handle) bool {
		all = append(all, h)
		return true
	})
	return all
}

// TestTreesAreSorted puts numbers into trees and takes them out, in several orders. Leaves
// have numbers of one head each.
func TestTreesAreSorted(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, next := range []func(i int) handle{
		func(i int) handle { return handle(i) },
		func(i int) handle { return handle(100_000 - i) },
		func(int) handle { return handle(random.IntN(100_000)) },
	} {
		for _, perHead := range []handle{1 << 20, 5000} {
			head := func(h handle) uint16 { return uint16(h / perHead) }
			var want []handle
			tree := newTree(leafOfTests, half, nil)
			for i := range handle(1000) {
				want = append(want, i*90)
			}
			for rest := want; len(rest) > 0; {
				n := 1
				for n < len(rest) && head(rest[n]) == head(rest[0]) {
					n++
				}
				tree.extend(head(rest[0]), rest[:n])
				rest = rest[n:]
			}
			place := func(h handle) spot {
				return tree.seek(half(0, h), func(of uint16, other handle) bool {
					require.Equal(t, head(other), of)
					return other < h
				})
			}
			check := func() {
				require.True(t, slices.Equal(want, items(tree, false)))
				down := items(tree, true)
				slices.Reverse(down)
				require.True(t, slices.Equal(want, down))
				heads := 1 + int(head(100_000))
				require.LessOrEqual(t, len(tree.leaves), heads+4*len(want)/leafOfTests, "leaves are not empty")
			}
			for i := range 4000 {
				h := next(i)
				at, there := slices.BinarySearch(want, h)
				if there {
					want = slices.Delete(want, at, at+1)
					tree.remove(place(h))
				} else {
					want = slices.Insert(want, at, h)
					tree.insert(place(h), head(h), h)
				}
				if i%50 == 0 {
					check()
					from, to := next(random.IntN(4000)), next(random.IntN(4000))
					var between []handle
					tree.walk(place(from), place(to), false, nil, func(h handle) bool { between = append(between, h); return true })
					require.Equal(t, slices.DeleteFunc(slices.Clone(want), func(h handle) bool { return h < from || h >= to }), append([]handle{}, between...))
				}
			}
			for len(want) > 0 {
				at := random.IntN(len(want))
				h := want[at]
				want = slices.Delete(want, at, at+1)
				tree.remove(place(h))
				if len(want)%50 == 0 {
					check()
				}
			}
		}
	}
}

// TestAFullLeafIsSplit puts one more at each place of a full leaf, between two others.
func TestAFullLeafIsSplit(t *testing.T) {
	for at := range leafOfTests + 1 {
		full := newTree(leafOfTests, half, nil)
		var want []handle
		for i := range 2 * leafOfTests {
			want = append(want, handle(2*i+1))
			full.insert(full.end(), 0, handle(2*i+1))
		}
		h := handle(2 * at)
		full.insert(full.seek(half(0, h), func(_ uint16, other handle) bool { return other < h }), 0, h)
		require.Equal(t, slices.Insert(want, at, h), items(full, false))
	}
}
