package orders

import (
	"iter"
	"slices"
	"sort"
)

// handle is the number of an order's row.
type handle uint32

const (
	leafHandles = 255
	// leafFill is how many handles a leaf of a new tree has, so that not each is split
	// by the next order.
	leafFill = leafHandles * 9 / 10
)

// leaf is 1 KiB, and holds no pointers.
type leaf struct {
	n       int32
	handles [leafHandles]handle
}

func (l *leaf) all() []handle { return l.handles[:l.n] }

// tree has handles in an order that its caller knows: a B+tree of two levels. With 100
// million orders, its upper one has half a million leaves, which a split moves in microseconds.
type tree struct{ leaves []*leaf }

// spot is a place in a tree; its leaf may be behind the last one.
type spot struct{ leaf, at int }

// newTree makes a tree of handles in its order.
func newTree(sorted []handle) (t tree) {
	for chunk := range slices.Chunk(sorted, leafFill) {
		l := &leaf{n: int32(len(chunk))}
		copy(l.handles[:], chunk)
		t.leaves = append(t.leaves, l)
	}
	return t
}

// seek returns the place of the first handle that is not before something.
func (t *tree) seek(before func(handle) bool) spot {
	s := spot{leaf: sort.Search(len(t.leaves), func(i int) bool {
		l := t.leaves[i]
		return !before(l.handles[l.n-1])
	})}
	if s.leaf < len(t.leaves) {
		all := t.leaves[s.leaf].all()
		s.at = sort.Search(len(all), func(i int) bool { return !before(all[i]) })
	}
	return s
}

// up goes from a place to the end.
func (t *tree) up(s spot) iter.Seq[handle] {
	return func(yield func(handle) bool) {
		for ; s.leaf < len(t.leaves); s = (spot{leaf: s.leaf + 1}) {
			for _, h := range t.leaves[s.leaf].all()[s.at:] {
				if !yield(h) {
					return
				}
			}
		}
	}
}

// down goes from the handle before a place to the beginning.
func (t *tree) down(s spot) iter.Seq[handle] {
	return func(yield func(handle) bool) {
		for s.leaf > 0 || s.at > 0 {
			if s.at == 0 {
				s.leaf--
				s.at = int(t.leaves[s.leaf].n)
			}
			s.at--
			if !yield(t.leaves[s.leaf].handles[s.at]) {
				return
			}
		}
	}
}

func (t *tree) insert(s spot, h handle) {
	if last := len(t.leaves) - 1; s.leaf > last {
		if last < 0 || t.leaves[last].n == leafHandles {
			t.leaves = append(t.leaves, &leaf{}) // the one before stays full: most orders are the newest
			last++
		}
		s = spot{last, int(t.leaves[last].n)}
	}
	l := t.leaves[s.leaf]
	if l.n == leafHandles {
		const half = leafHandles / 2
		right := &leaf{n: leafHandles - half}
		copy(right.handles[:], l.handles[half:])
		l.n = half
		t.leaves = slices.Insert(t.leaves, s.leaf+1, right)
		if s.at > half {
			l, s.at = right, s.at-half
		}
	}
	l.n++
	copy(l.all()[s.at+1:], l.handles[s.at:])
	l.handles[s.at] = h
}

// remove takes the handle out at a place. Neighbours that have become small are joined.
func (t *tree) remove(s spot) {
	l := t.leaves[s.leaf]
	copy(l.handles[s.at:], l.all()[s.at+1:])
	l.n--
	for i := s.leaf; i >= max(0, s.leaf-1); i-- {
		switch {
		case i+1 == len(t.leaves) && t.leaves[i].n == 0:
			t.leaves = slices.Delete(t.leaves, i, i+1)
		case i+1 < len(t.leaves) && (t.leaves[i].n == 0 || t.leaves[i+1].n == 0 || t.leaves[i].n+t.leaves[i+1].n <= leafHandles/2):
			l, right := t.leaves[i], t.leaves[i+1]
			copy(l.handles[l.n:], right.all())
			l.n += right.n
			t.leaves = slices.Delete(t.leaves, i+1, i+2)
		}
	}
}

func (t *tree) bytes() int64 {
	const leafBytes = 4 * (1 + leafHandles)
	return int64(len(t.leaves))*leafBytes + int64(cap(t.leaves))*8
}
