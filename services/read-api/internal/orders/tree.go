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
	leafItems = 1023
	// leafShare of a leaf is how many items it grows by, so that nearly all of its memory is
	// used, and how many a leaf of a new tree lacks, so that not each is split by the next
	// order.
	leafShare = 16
)

// tree has items in an order that its caller knows: a B+tree of two levels. With 10 million
// orders, its upper one has some 60,000 leaves, which a split moves in a fraction of a
// millisecond: leaves are that large so that few splits come to an order.
type tree[E any] struct {
	most   int      // items of a leaf
	leaves [][]E    // none is empty
	lasts  []E      // of the leaves: a search through them finds its leaf without looking into others
	keys   []uint64 // of the lasts, which their order agrees with: most searches need no rows for them
	heads  []uint16 // of the leaves: what their items begin with, which so takes no memory for each
	zones  []zone   // of the leaves, if row is set
	key    func(head uint16, item E) uint64
	row    func(E) *row
	held   int // the leaves' capacity
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
	updatedMin, updatedMax uint32
}

var noRows = zone{createdMin: math.MaxInt64, createdMax: math.MinInt64, amountMin: math.MaxUint32, updatedMin: math.MaxUint32}

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
	z.updatedMin, z.updatedMax = min(z.updatedMin, r.updated), max(z.updatedMax, r.updated)
}

// newTree makes a tree with leaves of up to most items. With row, it has zones.
func newTree[E any](most int, key func(head uint16, item E) uint64, row func(E) *row) *tree[E] {
	return &tree[E]{most: most, key: key, row: row}
}

// extend adds items, in order, which are after all others and begin with head.
func (t *tree[E]) extend(head uint16, sorted []E) {
	for chunk := range slices.Chunk(sorted, t.most-t.most/leafShare) {
		t.open(len(t.leaves), head, slices.Clone(chunk))
	}
}

// open puts a new leaf between others.
func (t *tree[E]) open(i int, head uint16, l []E) {
	t.held += cap(l)
	t.leaves = slices.Insert(t.leaves, i, l)
	t.lasts = slices.Insert(t.lasts, i, l[len(l)-1])
	t.keys = slices.Insert(t.keys, i, 0)
	t.heads = slices.Insert(t.heads, i, head)
	if t.row != nil {
		t.zones = slices.Insert(t.zones, i, noRows)
	}
	t.changed(i)
}

// grown is a leaf with room for more items, which has the same.
func (t *tree[E]) grown(l []E) []E {
	return append(make([]E, 0, min(len(l)+max(1, t.most/leafShare), t.most)), l...)
}

func (t *tree[E]) close(i int) {
	t.held -= cap(t.leaves[i])
	t.leaves, t.heads = slices.Delete(t.leaves, i, i+1), slices.Delete(t.heads, i, i+1)
	t.lasts, t.keys = slices.Delete(t.lasts, i, i+1), slices.Delete(t.keys, i, i+1)
	if t.row != nil {
		t.zones = slices.Delete(t.zones, i, i+1)
	}
}

// changed is called when a leaf has other items.
func (t *tree[E]) changed(i int) {
	t.ends(i)
	if t.row == nil {
		return
	}
	t.zones[i] = noRows
	for _, item := range t.leaves[i] {
		t.zones[i].add(t.row(item))
	}
}

// ends is called when a leaf may have another last item.
func (t *tree[E]) ends(i int) {
	l := t.leaves[i]
	t.lasts[i] = l[len(l)-1]
	t.keys[i] = t.key(t.heads[i], t.lasts[i])
}

// seek returns the place of the first item that is not before something with a key.
func (t *tree[E]) seek(key uint64, before func(head uint16, item E) bool) spot {
	s := spot{leaf: sort.Search(len(t.keys), func(i int) bool {
		return t.keys[i] > key || t.keys[i] == key && !before(t.heads[i], t.lasts[i])
	})}
	if s.leaf < len(t.leaves) {
		l := t.leaves[s.leaf]
		s.at = sort.Search(len(l), func(i int) bool { return !before(t.heads[s.leaf], l[i]) })
	}
	return s
}

// end is the place behind all items.
func (t *tree[E]) end() spot { return spot{leaf: len(t.leaves)} }

// at returns the item at a place, if there is one.
func (t *tree[E]) at(s spot) (item E, ok bool) {
	if s.leaf == len(t.leaves) {
		return item, false
	}
	return t.leaves[s.leaf][s.at], true
}

// walk goes from one place up to another, or down, until use returns false. It passes over
// leaves whose zone is not wanted, if it has zones.
func (t *tree[E]) walk(from, to spot, down bool, wanted func(*zone) bool, use func(E) bool) {
	if from.leaf == to.leaf && from.at >= to.at {
		return
	}
	for n := range to.leaf - from.leaf + 1 {
		i := from.leaf + n
		if down {
			i = to.leaf - n
		}
		if i == len(t.leaves) || wanted != nil && !wanted(&t.zones[i]) {
			continue
		}
		items := t.leaves[i]
		if i == to.leaf {
			items = items[:to.at]
		}
		if i == from.leaf {
			items = items[from.at:]
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
	if from.leaf >= to.leaf {
		return max(0, to.at-from.at)
	}
	return len(t.leaves[from.leaf]) - from.at + (to.leaf-from.leaf-1)*t.held/len(t.leaves) + to.at
}

// insert adds an item, which begins with head, where seek says that it belongs.
func (t *tree[E]) insert(s spot, head uint16, item E) {
	if before := s.leaf - 1; s.leaf == len(t.leaves) || t.heads[s.leaf] != head {
		// At the tree's end, a full leaf stays full: most orders are the newest.
		if before < 0 || t.heads[before] != head || len(t.leaves[before]) == t.most && s.leaf == len(t.leaves) {
			t.open(s.leaf, head, t.grown([]E{item}))
			return
		}
		s = spot{before, len(t.leaves[before])}
	}
	if l := t.leaves[s.leaf]; len(l) == t.most {
		half := t.most / 2
		right := t.grown(l[half:])
		t.set(s.leaf, t.grown(l[:half]))
		t.changed(s.leaf)
		t.open(s.leaf+1, head, right)
		if s.at > half {
			s = spot{s.leaf + 1, s.at - half}
		}
	}
	l := t.leaves[s.leaf]
	if len(l) == cap(l) {
		l = t.grown(l)
	}
	t.set(s.leaf, slices.Insert(l, s.at, item))
	if s.at == len(l) {
		t.ends(s.leaf)
	}
	if t.row != nil {
		t.zones[s.leaf].add(t.row(item))
	}
}

// replace puts an item in the place of an equal one.
func (t *tree[E]) replace(s spot, item E) {
	t.leaves[s.leaf][s.at] = item
	t.ends(s.leaf)
}

func (t *tree[E]) set(i int, l []E) {
	t.held += cap(l) - cap(t.leaves[i])
	t.leaves[i] = l
}

// remove takes the item out at a place. Neighbours that have become small are joined.
func (t *tree[E]) remove(s spot) {
	t.leaves[s.leaf] = slices.Delete(t.leaves[s.leaf], s.at, s.at+1)
	if !t.join(s.leaf) {
		t.join(s.leaf - 1)
	}
}

// join closes a leaf if it is empty, or puts it and the next one together if both are small.
// It tells whether it did.
func (t *tree[E]) join(i int) bool {
	if i < 0 || i >= len(t.leaves) {
		return false
	}
	l := t.leaves[i]
	if len(l) == 0 {
		t.close(i)
		return true
	}
	t.ends(i)
	if i+1 == len(t.leaves) || t.heads[i] != t.heads[i+1] || len(l)+len(t.leaves[i+1]) > t.most/2 {
		return false
	}
	t.set(i, slices.Concat(l, t.leaves[i+1]))
	t.close(i + 1)
	t.changed(i)
	return true
}

func (t *tree[E]) bytes() int64 {
	var item E
	return int64(t.held)*int64(unsafe.Sizeof(item)) + int64(cap(t.leaves))*int64(unsafe.Sizeof([]E{})) +
		int64(cap(t.lasts))*int64(unsafe.Sizeof(item)) + 8*int64(cap(t.keys)) + 2*int64(cap(t.heads)) + int64(cap(t.zones))*int64(unsafe.Sizeof(zone{}))
}
