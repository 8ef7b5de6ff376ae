package orders

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// leafOfTests are the bytes of a leaf, in which leastItems have room at least.
const (
	leafOfTests = 1023
	leastItems  = leafOfTests / 5
)

// kind is of trees whose items are numbers up to 100,000, spread over all bytes that an item has.
type kind struct{ wide, withAbove bool }

var kinds = []kind{{}, {wide: true}, {withAbove: true}, {wide: true, withAbove: true}}

func (k kind) String() string { return fmt.Sprintf("wide: %v, withAbove: %v", k.wide, k.withAbove) }

func (k kind) shift() int {
	if k.wide {
		return 15
	}
	return 7
}

func (k kind) item(n int) item {
	if k.withAbove {
		return newItem(byte(n>>9), handle(n&511)<<k.shift())
	}
	return newItem(0, handle(n)<<k.shift())
}

func (k kind) number(i item) int { return int(i.above())<<9 | int(i.handle()>>k.shift()) }

// half is an item's key: neighbours have the same one.
func (k kind) half(_ uint16, i item) uint64 { return uint64(k.number(i) / 2) }

func (k kind) tree() *tree {
	t := newTree(leafOfTests, k.wide, k.half, nil)
	t.withAbove = k.withAbove
	return t
}

func (k kind) numbers(t *tree, from, to spot, down bool) []int {
	found := []int{}
	t.walk(from, to, down, nil, func(i item) bool {
		found = append(found, k.number(i))
		return true
	})
	return found
}

func (k kind) all(t *tree, down bool) []int { return k.numbers(t, spot{}, t.end(), down) }

// TestTreesAreSorted puts numbers into trees and takes them out, in several orders. Leaves
// have numbers of one head each.
func TestTreesAreSorted(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, k := range kinds {
		for _, next := range []func(i int) int{
			func(i int) int { return i },
			func(i int) int { return 100_000 - i },
			func(int) int { return random.IntN(100_000) },
		} {
			for _, perHead := range []int{1 << 20, 5000} {
				head := func(n int) uint16 { return uint16(n / perHead) }
				var want []int
				tree := k.tree()
				for i := range 1000 {
					want = append(want, i*90)
				}
				for rest := want; len(rest) > 0; {
					var same []item
					for len(same) < len(rest) && head(rest[len(same)]) == head(rest[0]) {
						same = append(same, k.item(rest[len(same)]))
					}
					tree.extend(head(rest[0]), same)
					rest = rest[len(same):]
				}
				place := func(n int) spot {
					return tree.seek(uint64(n/2), func(of uint16, other item) bool {
						require.Equal(t, head(k.number(other)), of)
						return k.number(other) < n
					})
				}
				check := func() {
					require.Equal(t, want, k.all(tree, false), k)
					down := k.all(tree, true)
					slices.Reverse(down)
					require.Equal(t, want, down)
					heads := 1 + int(head(100_000))
					require.LessOrEqual(t, len(tree.leaves), heads+4*len(want)/leastItems, "leaves are not empty")
				}
				for i := range 4000 {
					n := next(i)
					at, there := slices.BinarySearch(want, n)
					if there {
						want = slices.Delete(want, at, at+1)
						tree.remove(place(n))
					} else {
						want = slices.Insert(want, at, n)
						tree.insert(place(n), head(n), k.item(n))
					}
					if i%50 == 0 {
						check()
						from, to := next(random.IntN(4000)), next(random.IntN(4000))
						between := slices.DeleteFunc(slices.Clone(want), func(n int) bool { return n < from || n >= to })
						require.Equal(t, between, k.numbers(tree, place(from), place(to), false))
					}
					if i == 3000 && !k.wide {
						tree.widen()
					}
				}
				for len(want) > 0 {
					at := random.IntN(len(want))
					n := want[at]
					want = slices.Delete(want, at, at+1)
					tree.remove(place(n))
					if len(want)%50 == 0 {
						check()
					}
				}
			}
		}
	}
}

// TestAFullLeafIsSplit puts one more at each place of a full leaf, between two others.
func TestAFullLeafIsSplit(t *testing.T) {
	for _, k := range kinds {
		leafItems := leafOfTests / k.tree().width()
		for at := range leafItems + 1 {
			full := k.tree()
			var want []int
			for i := range 2 * leafItems {
				want = append(want, 2*i+1)
				full.insert(full.end(), 0, k.item(2*i+1))
			}
			require.Len(t, full.leaves, 2)
			full.insert(full.seek(uint64(at), func(_ uint16, other item) bool { return k.number(other) < 2*at }), 0, k.item(2*at))
			require.Equal(t, slices.Insert(want, at, 2*at), k.all(full, false))
		}
	}
}
