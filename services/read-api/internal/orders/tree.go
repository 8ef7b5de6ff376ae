package orders

import (
	"math"
	"slices"
	"sort"
	"unsafe"
)

// handle is the number of an order's row.
type handle uint32

const (
	leafItems = 255
	// leafFill is how many items a leaf of a new tree has, so that not each is split by the
	// next order.
	leafFill = leafItems * 15 / 16
)

type leaf[E any] struct {
	n     int32
	items [leafItems]E
}

func (l *leaf[E]) all() []E { return l.items[:l.n] }

// tree has items in an order that its caller knows: a B+tree of two levels. With 100
// million orders, its upper one has half a million leaves, which a split moves in microseconds.
type tree[E any] struct {
	leaves []*leaf[E]
	zones  []zone // of the leaves, if row is set
	row    func(E) *row
}

// spot is a place in a tree; its leaf may be behind the last one.
type spot struct{ leaf, at int }

// zone is what a leaf's rows have in common: with it, a search passes over leaves without
// looking at their rows. It may be wider than the rows are.
type zone struct {
	names                  [8]uint64 // a Bloom filter of the numbers of names
	many                   bool      // a row has more item names than it can tell
	createdMin, createdMax int64
	amountMin, amountMax   uint32
}

var noRows = zone{createdMin: math.MaxInt64, createdMax: math.MinInt64, amountMin: math.MaxUint32}

// nameBits are the two bits of a name's number in a zone, by multiplicative hashing.
func nameBits(number uint16) (a, b uint32) {
	h := uint32(number) * 0x9E3779B1
	return h >> 23, h >> 14 & 511
}

func (z *zone) addName(number uint16) {
	a, b := nameBits(number)
	z.names[a/64] |= 1 << (a % 64)
	z.names[b/64] |= 1 << (b % 64)
}

func (z *zone) hasName(number uint16) bool {
	a, b := nameBits(number)
	return z.names[a/64]>>(a%64)&1 == 1 && z.names[b/64]>>(b%64)&1 == 1
}

func (z *zone) add(r *row) {
	z.addName(r.delivery)
	z.addName(r.locale)
	z.addName(r.currency)
	for _, number := range r.items {
		z.addName(number)
	}
	z.many = z.many || r.many()
	z.createdMin, z.createdMax = min(z.createdMin, r.created), max(z.createdMax, r.created)
	z.amountMin, z.amountMax = min(z.amountMin, r.amount), max(z.amountMax, r.amount)
}

// newTree makes a tree of items in its order. With row, it has zones.
func newTree[E any](sorted []E, row func(E) *row) (t tree[E]) {
	t.row = row
	for chunk := range slices.Chunk(sorted, leafFill) {
		l := &leaf[E]{n: int32(len(chunk))}
		copy(l.items[:], chunk)
		t.leaves = append(t.leaves, l)
	}
	if row != nil {
		t.zones = make([]zone, len(t.leaves))
		for i := range t.leaves {
			t.zone(i)
		}
	}
	return t
}

// zone sets a leaf's zone anew.
func (t *tree[E]) zone(i int) {
	if t.row == nil {
		return
	}
	t.zones[i] = noRows
	for _, item := range t.leaves[i].all() {
		t.zones[i].add(t.row(item))
	}
}

// seek returns the place of the first item that is not before something.
func (t *tree[E]) seek(before func(E) bool) spot {
	s := spot{leaf: sort.Search(len(t.leaves), func(i int) bool {
		l := t.leaves[i]
		return !before(l.items[l.n-1])
	})}
	if s.leaf < len(t.leaves) {
		all := t.leaves[s.leaf].all()
		s.at = sort.Search(len(all), func(i int) bool { return !before(all[i]) })
	}
	return s
}

// at returns the item at a place, if there is one.
func (t *tree[E]) at(s spot) (item E, ok bool) {
	if s.leaf == len(t.leaves) {
		return item, false
	}
	return t.leaves[s.leaf].items[s.at], true
}

// after returns the place behind one.
func (t *tree[E]) after(s spot) spot {
	if s.at++; s.at == int(t.leaves[s.leaf].n) {
		return spot{leaf: s.leaf + 1}
	}
	return s
}

// walk goes from a place to the end, or from the item before it to the beginning, until use
// returns false. It passes over leaves whose zone is not wanted, if it has zones.
func (t *tree[E]) walk(from spot, down bool, wanted func(*zone) bool, use func(E) bool) {
	step := 1
	if down {
		step = -1
	}
	for i := from.leaf; i >= 0 && i < len(t.leaves)+1; i += step {
		if i == len(t.leaves) {
			if !down {
				return
			}
			continue
		}
		items := t.leaves[i].all()
		switch {
		case i == from.leaf && down:
			items = items[:from.at]
		case i == from.leaf:
			items = items[from.at:]
		}
		if wanted != nil && !wanted(&t.zones[i]) {
			continue
		}
		for n := range items {
			if down {
				n = len(items) - 1 - n
			}
			if !use(items[n]) {
				return
			}
		}
	}
}

// between is about how many items are from one place to another.
func (t *tree[E]) between(from, to spot) int {
	if from.leaf == to.leaf {
		return max(0, to.at-from.at)
	}
	return max(0, to.leaf-from.leaf)*leafFill - from.at + to.at
}

func (t *tree[E]) insert(s spot, item E) {
	if last := len(t.leaves) - 1; s.leaf > last {
		if last < 0 || t.leaves[last].n == leafItems {
			t.open(last+1, &leaf[E]{}) // the one before stays full: most orders are the newest
			last++
		}
		s = spot{last, int(t.leaves[last].n)}
	}
	l := t.leaves[s.leaf]
	if l.n == leafItems {
		const half = leafItems / 2
		right := &leaf[E]{n: leafItems - half}
		copy(right.items[:], l.items[half:])
		l.n = half
		t.open(s.leaf+1, right)
		t.zone(s.leaf)
		if s.at > half {
			l, s = right, spot{s.leaf + 1, s.at - half}
		}
	}
	l.n++
	copy(l.all()[s.at+1:], l.items[s.at:])
	l.items[s.at] = item
	if t.row != nil {
		t.zones[s.leaf].add(t.row(item))
	}
}

// open puts a leaf between others.
func (t *tree[E]) open(i int, l *leaf[E]) {
	t.leaves = slices.Insert(t.leaves, i, l)
	if t.row != nil {
		t.zones = slices.Insert(t.zones, i, noRows)
		t.zone(i)
	}
}

func (t *tree[E]) close(i int) {
	t.leaves = slices.Delete(t.leaves, i, i+1)
	if t.row != nil {
		t.zones = slices.Delete(t.zones, i, i+1)
	}
}

// remove takes the item out at a place. Neighbours that have become small are joined.
func (t *tree[E]) remove(s spot) {
	l := t.leaves[s.leaf]
	copy(l.items[s.at:], l.all()[s.at+1:])
	l.n--
	t.join(s.leaf)
	t.join(s.leaf - 1)
}

// join takes a leaf out if it is empty, or puts it and the next one together if both are
// small. It tells whether it did.
func (t *tree[E]) join(i int) bool {
	if i < 0 || i >= len(t.leaves) {
		return false
	}
	l := t.leaves[i]
	if l.n == 0 {
		t.close(i)
		return true
	}
	if i+1 == len(t.leaves) || l.n+t.leaves[i+1].n > leafItems/2 {
		return false
	}
	right := t.leaves[i+1]
	copy(l.items[l.n:], right.all())
	l.n += right.n
	t.close(i + 1)
	t.zone(i)
	return true
}

func (t *tree[E]) bytes() int64 {
	return int64(len(t.leaves))*int64(unsafe.Sizeof(leaf[E]{})) + int64(cap(t.leaves))*8 + int64(cap(t.zones))*int64(unsafe.Sizeof(zone{}))
}
