package orders

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// draft is what a table is made of: rows in no order.
type draft struct {
	rows  []row
	uids  []uint64 // the beginning of each row's order_uid, as uidPart has it
	posts []uint64 // values above indexes of rows
}

// build reads all orders. Those that change meanwhile are pending.
func (x *index) build(b *build) {
	expected := x.cache.Stats().Orders
	expected += expected / 64
	d := draft{make([]row, 0, expected), make([]uint64, 0, expected), make([]uint64, 0, 6*expected)}
	x.cache.Each(func(record cache.Record) bool {
		record.View(func(canonical []byte) {
			o, ok := model.FromCanonical(canonical)
			if ok {
				r, values := x.rowOf(o, record)
				found, there := x.record(&r)
				ok = !there || found.UID() == o.OrderUID // see own; it may have gone
				for _, value := range values {
					d.posts = append(d.posts, uint64(value)<<32|uint64(len(d.rows)))
				}
				d.rows, d.uids = append(d.rows, r), append(d.uids, uidPart(o.OrderUID, 0))
			}
			if !ok {
				b.failed.Store(true)
			}
		})
		return !b.failed.Load() && !b.stopped.Load()
	})
	if !b.failed.Load() && !b.stopped.Load() {
		b.table.Store(x.tabulate(d))
	}
}

// tabulate makes a table. It leaves the rows out whose orders have gone.
func (x *index) tabulate(d draft) *table {
	type place struct {
		created int64
		from    handle
	}
	byUID := x.sortByUID(d)
	places := make([]place, len(byUID))
	for i, from := range byUID {
		places[i] = place{d.rows[from].created, from}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.created, b.created) })
	type named struct {
		uid string
		place
	}
	kept := places[:0]
	var equal []named
	for rest := places; len(rest) > 0; {
		equal = equal[:0]
		for created := rest[0].created; len(rest) > 0 && rest[0].created == created; rest = rest[1:] {
			if record, ok := x.record(&d.rows[rest[0].from]); ok {
				equal = append(equal, named{record.UID(), rest[0]})
			}
		}
		slices.SortFunc(equal, func(a, b named) int { return strings.Compare(a.uid, b.uid) })
		for _, one := range equal {
			kept = append(kept, one.place)
		}
	}
	t := &table{first: make([]row, len(kept)), used: len(kept), live: len(kept), gone: make([]uint64, len(kept)/64+1)}
	const left = math.MaxUint32
	to := slices.Repeat([]handle{left}, len(d.rows))
	for h, p := range kept {
		t.first[h], to[p.from] = d.rows[p.from], handle(h)
	}
	wide := len(kept) > x.narrow
	items := make([]item, 0, len(kept))
	for _, from := range byUID {
		if h := to[from]; h != left {
			items = append(items, newItem(0, h))
		}
	}
	t.byUID = newTree(x.leaf, wide, func(_ uint16, last item) uint64 { return d.uids[kept[last.handle()].from] }, nil)
	t.byUID.extend(0, items)
	posts := d.posts[:0]
	for _, p := range d.posts {
		if h := to[uint32(p)]; h != left {
			posts = append(posts, p>>32<<32|uint64(h))
		}
	}
	slices.Sort(posts) // handles are in the order of time
	t.posts = newTree(x.leaf, wide, func(head uint16, last item) uint64 { return uint64(valueOf(head, last)) }, nil)
	t.posts.withAbove = true
	var same []item
	for i, p := range posts {
		value := uint32(p >> 32)
		same = append(same, newPost(value, handle(p)))
		if i+1 == len(posts) || headOf(uint32(posts[i+1]>>32)) != headOf(value) {
			t.posts.extend(headOf(value), same)
			same = same[:0]
		}
	}
	sorted := func(rank func(*row) uint32, key func(*row) uint64) *tree {
		keys := make([]uint64, len(items))
		for h := range keys {
			keys[h] = uint64(rank(&t.first[h]))<<32 | uint64(h)
		}
		slices.Sort(keys)
		for i, key := range keys {
			items[i] = newItem(0, handle(key))
		}
		tree := newTree(x.leaf, wide, func(_ uint16, last item) uint64 { return key(t.row(last.handle())) }, t.row)
		tree.extend(0, items)
		return tree
	}
	ranked := func(by ranking) *tree {
		return sorted(by.rank, func(r *row) uint64 { return uint64(by.rank(r)) })
	}
	t.byAmount, t.byUpdated = ranked(t.amounts()), ranked(t.updates())
	t.byTime = sorted(func(*row) uint32 { return 0 }, func(r *row) uint64 { return timeKey(r.created) })
	return t
}

const uidPartBytes = 8

// uidPart is the bytes of an order_uid from a place on, as a number that sorts like them:
// PostgreSQL's texts have no zeros.
func uidPart(uid string, from int) (part uint64) {
	for i := from; i < from+uidPartBytes; i++ {
		if part <<= 8; i < len(uid) {
			part |= uint64(uid[i])
		}
	}
	return part
}

// sortByUID returns the indexes of the rows in the order of their order_uids, which it reads
// from records, a part at a time.
func (x *index) sortByUID(d draft) []handle {
	type part struct {
		part uint64
		row  handle
	}
	parts := make([]part, len(d.rows))
	for i, beginning := range d.uids {
		parts[i] = part{beginning, handle(i)}
	}
	sorted := make([]handle, 0, len(parts))
	var add func(parts []part, from int)
	add = func(parts []part, from int) {
		slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.part, b.part) })
		for len(parts) > 0 {
			n := 1
			for n < len(parts) && parts[n].part == parts[0].part {
				n++
			}
			same := parts[:n]
			parts = parts[n:]
			if n == 1 {
				sorted = append(sorted, same[0].row)
				continue
			}
			there := same[:0]
			for _, p := range same {
				if record, ok := x.record(&d.rows[p.row]); ok {
					there = append(there, part{uidPart(record.UID(), from), p.row})
				}
			}
			add(there, from+uidPartBytes)
		}
	}
	add(parts, uidPartBytes)
	return sorted
}
