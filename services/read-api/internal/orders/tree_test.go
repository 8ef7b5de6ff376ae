package orders

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

const leafOfTests = 255

func items(t *tree[handle], from spot, down bool) (all []handle) {
	t.walk(from, down, nil, func(h handle) bool {
		all = append(all, h)
		return true
	})
	return all
}

// TestTreesAreSorted puts numbers into trees and takes them out, in several orders.
func TestTreesAreSorted(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, next := range []func(i int) handle{
		func(i int) handle { return handle(i) },
		func(i int) handle { return handle(100_000 - i) },
		func(int) handle { return handle(random.IntN(100_000)) },
	} {
		var want []handle
		for i := range 1000 {
			want = append(want, handle(i*90))
		}
		tree := newTree(want, leafOfTests, nil)
		check := func() {
			require.True(t, slices.Equal(want, items(tree, spot{}, false)))
			down := items(tree, spot{leaf: len(tree.leaves)}, true)
			slices.Reverse(down)
			require.True(t, slices.Equal(want, down))
			require.LessOrEqual(t, len(tree.leaves), 1+4*len(want)/leafOfTests, "leaves are not empty")
		}
		for i := range 4000 {
			h := next(i)
			at, there := slices.BinarySearch(want, h)
			place := tree.seek(func(other handle) bool { return other < h })
			if there {
				want = slices.Delete(want, at, at+1)
				tree.remove(place)
			} else {
				want = slices.Insert(want, at, h)
				tree.insert(place, h)
			}
			if i%50 == 0 {
				check()
			}
		}
		for len(want) > 0 {
			at := random.IntN(len(want))
			h := want[at]
			want = slices.Delete(want, at, at+1)
			tree.remove(tree.seek(func(other handle) bool { return other < h }))
			if len(want)%50 == 0 {
				check()
			}
		}
	}
}

// TestAFullLeafIsSplit puts one more at each place of a full leaf, between two others.
func TestAFullLeafIsSplit(t *testing.T) {
	for at := range leafOfTests + 1 {
		full := newTree[handle](nil, leafOfTests, nil)
		var want []handle
		for i := range 2 * leafOfTests {
			want = append(want, handle(2*i+1))
			full.insert(spot{leaf: len(full.leaves)}, handle(2*i+1))
		}
		h := handle(2 * at)
		full.insert(full.seek(func(other handle) bool { return other < h }), h)
		require.Equal(t, slices.Insert(want, at, h), items(full, spot{}, false))
	}
}
