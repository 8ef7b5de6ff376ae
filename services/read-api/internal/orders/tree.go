package orders

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"unsafe"
)

// handle is the number of an order's row.
type handle uint32

// item is what a tree has in order: a handle and, above it, a byte that is the tree's own. In
// a leaf it takes as few bytes as it can.
type item uint64

func newItem(above byte, h handle) item { return item(above)<<32 | item(h) }

func (i item) above() byte { return byte(i >> 32) }

func (i item) handle() handle { return handle(i) }

// Leaves of a new tree have three quarters of the bytes that they may have, so that not each
// is split by the next order. The allocator has blocks of both sizes, so none of this is lost.
const leafBytes = 4096

// tree has items in an order that its caller knows: a B+tree of two levels. With 10 million
// orders, its upper one has up to 130,000 leaves, which a split moves in a fraction of a
// millisecond: leaves are that large so that few splits come to an order.
type tree struct {
	most      int  // bytes of a leaf
	wide      bool // handles take 4 bytes instead of 3
	withAbove bool // items have more than a handle
	leaves    [][]byte
	keys      []uint64 // of the leaves' last items, which their order agrees with: most searches need no rows for them
	heads     []uint16 // of the leaves: what their items begin with, which so takes no memory for each
	zones     []zone   // of the leaves, if row is set
	key       func(head uint16, last item) uint64
	row       func(handle) *row
	held      int // the leaves' capacity
}

// width is how many bytes an item takes.
func (t *tree) width() int {
	width := 3
	if t.wide {
		width++
	}
	if t.withAbove {
		width++
	}
	return width
}

// items is how many a leaf has.
func (t *tree) items(leaf int) int { return len(t.leaves[leaf]) / t.width() }

// item is one of a leaf.
func (t *tree) item(l []byte, i int) item {
	switch {
	case t.wide && t.withAbove:
		l = l[5*i : 5*i+5]
		return item(l[4])<<32 | item(binary.LittleEndian.Uint32(l))
	case t.wide:
		return item(binary.LittleEndian.Uint32(l[4*i:]))
	case t.withAbove:
		packed := item(binary.LittleEndian.Uint32(l[4*i:]))
		return packed>>24<<32 | packed&0xff_ffff
	default:
		l = l[3*i : 3*i+3]
		return item(l[0]) | item(l[1])<<8 | item(l[2])<<16
	}
}

// appendItem adds an item to a leaf's bytes.
func (t *tree) appendItem(l []byte, i item) []byte {
	l = append(l, byte(i), byte(i>>8), byte(i>>16))
	if t.wide {
		l = append(l, byte(i>>24))
	}
	if t.withAbove {
		l = append(l, i.above())
	}
	return l
}

// widen gives handles 4 bytes.
func (t *tree) widen() {
	wide := newTree(t.most, true, t.key, t.row)
	wide.withAbove = t.withAbove
	for leaf, l := range t.leaves {
		items := make([]item, t.items(leaf))
		for i := range items {
			items[i] = t.item(l, i)
		}
		wide.extend(t.heads[leaf], items)
	}
	*t = *wide
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

// newTree makes a tree with leaves of up to most bytes. With row, it has zones.
func newTree(most int, wide bool, key func(head uint16, last item) uint64, row func(handle) *row) *tree {
	return &tree{most: most, wide: wide, key: key, row: row}
}

// extend adds items, in order, which are after all others and begin with head.
func (t *tree) extend(head uint16, sorted []item) {
	packed := make([]byte, 0, t.most)
	for some := range slices.Chunk(sorted, max(1, t.most*3/4/t.width())) {
		packed = packed[:0]
		for _, item := range some {
			packed = t.appendItem(packed, item)
		}
		t.open(len(t.leaves), head, slices.Clone(packed))
	}
}

// open puts a new leaf between others.
func (t *tree) open(i int, head uint16, l []byte) {
	t.held += cap(l)
	t.leaves = slices.Insert(t.leaves, i, l)
	t.keys = slices.Insert(t.keys, i, 0)
	t.heads = slices.Insert(t.heads, i, head)
	if t.row != nil {
		t.zones = slices.Insert(t.zones, i, noRows)
	}
	t.changed(i)
}

// grown is a leaf with room for another item and some more, which has the same: with all of
// the block that the allocator has for it.
func (t *tree) grown(l []byte) []byte {
	room := append([]byte(nil), make([]byte, min(len(l)+max(t.width(), t.most/16), t.most))...)
	return room[:copy(room, l)]
}

func (t *tree) close(i int) {
	t.held -= cap(t.leaves[i])
	t.leaves, t.heads = slices.Delete(t.leaves, i, i+1), slices.Delete(t.heads, i, i+1)
	t.keys = slices.Delete(t.keys, i, i+1)
	if t.row != nil {
		t.zones = slices.Delete(t.zones, i, i+1)
	}
}

// changed is called when a leaf has other items.
func (t *tree) changed(i int) {
	t.ends(i)
	if t.row == nil {
		return
	}
	t.zones[i] = noRows
	for at := range t.items(i) {
		t.zones[i].add(t.row(t.item(t.leaves[i], at).handle()))
	}
}

// ends is called when a leaf may have another last item.
func (t *tree) ends(i int) { t.keys[i] = t.key(t.heads[i], t.last(i)) }

// last is a leaf's last item.
func (t *tree) last(leaf int) item { return t.item(t.leaves[leaf], t.items(leaf)-1) }

// seek returns the place of the first item that is not before something with a key.
func (t *tree) seek(key uint64, before func(head uint16, item item) bool) spot {
	s := spot{leaf: sort.Search(len(t.keys), func(i int) bool {
		return t.keys[i] > key || t.keys[i] == key && !before(t.heads[i], t.last(i))
	})}
	if s.leaf < len(t.leaves) {
		l := t.leaves[s.leaf]
		s.at = sort.Search(t.items(s.leaf), func(i int) bool { return !before(t.heads[s.leaf], t.item(l, i)) })
	}
	return s
}

// end is the place behind all items.
func (t *tree) end() spot { return spot{leaf: len(t.leaves)} }

// at returns the item at a place, if there is one.
func (t *tree) at(s spot) (item item, ok bool) {
	if s.leaf == len(t.leaves) {
		return 0, false
	}
	return t.item(t.leaves[s.leaf], s.at), true
}

// walk goes from one place up to another, or down, until use returns false. It passes over
// leaves whose zone is not wanted, if it has zones.
func (t *tree) walk(from, to spot, down bool, wanted func(*zone) bool, use func(item) bool) {
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
		first, end := 0, t.items(i)
		if i == to.leaf {
			end = to.at
		}
		if i == from.leaf {
			first = from.at
		}
		for n := range end - first {
			at := first + n
			if down {
				at = end - 1 - n
			}
			if !use(t.item(t.leaves[i], at)) {
				return
			}
		}
	}
}

// sampledLeaves is how many leaves tell about how full all of them are. Those with another head
// tell nothing: a common value's are full, and most of the others' have few items.
const sampledLeaves = 8

// between is about how many items are from one place to another.
func (t *tree) between(from, to spot) int {
	if from.leaf >= to.leaf {
		return max(0, to.at-from.at)
	}
	leaves := to.leaf - from.leaf - 1
	step, bytes, looked := leaves/sampledLeaves+1, 0, 0
	for leaf := from.leaf + 1; leaf < to.leaf; leaf += step {
		bytes, looked = bytes+len(t.leaves[leaf]), looked+1
	}
	return t.items(from.leaf) - from.at + leaves*bytes/max(1, looked)/t.width() + to.at
}

// insert adds an item, which begins with head, where seek says that it belongs.
func (t *tree) insert(s spot, head uint16, item item) {
	packed := t.appendItem(nil, item)
	width := len(packed)
	full := func(leaf int) bool { return len(t.leaves[leaf])+width > t.most }
	if before := s.leaf - 1; s.leaf == len(t.leaves) || t.heads[s.leaf] != head {
		// At the tree's end, a full leaf stays full: most orders are the newest.
		if before < 0 || t.heads[before] != head || full(before) && s.leaf == len(t.leaves) {
			t.open(s.leaf, head, t.grown(packed))
			return
		}
		s = spot{before, t.items(before)}
	}
	if full(s.leaf) {
		half := t.items(s.leaf) / 2
		l := t.leaves[s.leaf]
		right := t.grown(l[half*width:])
		t.set(s.leaf, t.grown(l[:half*width]))
		t.changed(s.leaf)
		t.open(s.leaf+1, head, right)
		if s.at > half {
			s = spot{s.leaf + 1, s.at - half}
		}
	}
	l := t.leaves[s.leaf]
	if len(l)+width > cap(l) {
		l = t.grown(l)
	}
	t.set(s.leaf, slices.Insert(l, s.at*width, packed...))
	if s.at*width == len(l) {
		t.ends(s.leaf)
	}
	if t.row != nil {
		t.zones[s.leaf].add(t.row(item.handle()))
	}
}

// replace puts an item in the place of an equal one.
func (t *tree) replace(s spot, item item) {
	copy(t.leaves[s.leaf][s.at*t.width():], t.appendItem(nil, item))
	t.ends(s.leaf)
}

// removeIf takes those items out of a leaf.
func (t *tree) removeIf(leaf int, unwanted func(item) bool) {
	l := t.leaves[leaf]
	kept := l[:0]
	for i := range t.items(leaf) {
		if item := t.item(l, i); !unwanted(item) {
			kept = t.appendItem(kept, item)
		}
	}
	t.leaves[leaf] = kept
}

func (t *tree) set(i int, l []byte) {
	t.held += cap(l) - cap(t.leaves[i])
	t.leaves[i] = l
}

// remove takes the item out at a place. Neighbours that have become small are joined.
func (t *tree) remove(s spot) {
	width := t.width()
	t.leaves[s.leaf] = slices.Delete(t.leaves[s.leaf], s.at*width, (s.at+1)*width)
	if !t.join(s.leaf) {
		t.join(s.leaf - 1)
	}
}

// join closes a leaf if it is empty, or puts it and the next one together if both are small.
// It tells whether it did.
func (t *tree) join(i int) bool {
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

func (t *tree) bytes() int64 {
	return int64(t.held) + int64(cap(t.leaves))*int64(unsafe.Sizeof([]byte{})) +
		8*int64(cap(t.keys)) + 2*int64(cap(t.heads)) + int64(cap(t.zones))*int64(unsafe.Sizeof(zone{}))
}
