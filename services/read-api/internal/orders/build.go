package orders

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// build reads all orders. Those that change meanwhile are pending.
func (x *index) build(b *build) {
	expected := x.cache.Stats().Orders
	rows := make([]row, 0, expected+expected/64)
	posts := make([]post, 0, 6*(expected+expected/64))
	x.cache.Each(func(record cache.Record) bool {
		record.View(func(canonical []byte) {
			o, ok := model.FromCanonical(canonical)
			if !ok {
				b.failed.Store(true)
				return
			}
			r, values := x.rowOf(o, record)
			for _, value := range values {
				posts = append(posts, newPost(value, handle(len(rows))))
			}
			rows = append(rows, r)
		})
		return !b.failed.Load() && !b.stopped.Load()
	})
	if !b.failed.Load() && !b.stopped.Load() {
		b.table.Store(x.tabulate(rows, posts))
	}
}

// tabulate makes a table of rows and their posts, which it sorts. It leaves those out whose
// orders have gone.
func (x *index) tabulate(rows []row, posts []post) *table {
	type place struct {
		created int64
		from    handle
	}
	places := make([]place, len(rows))
	for i := range rows {
		places[i] = place{rows[i].created, handle(i)}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.created, b.created) })
	type named struct {
		uid string
		place
	}
	kept := places[:0]
	var same []named
	for rest := places; len(rest) > 0; {
		same = same[:0]
		for created := rest[0].created; len(rest) > 0 && rest[0].created == created; rest = rest[1:] {
			if record, ok := x.record(&rows[rest[0].from]); ok {
				same = append(same, named{record.UID(), rest[0]})
			}
		}
		slices.SortFunc(same, func(a, b named) int { return strings.Compare(a.uid, b.uid) })
		for _, one := range same {
			kept = append(kept, one.place)
		}
	}
	t := &table{first: make([]row, len(kept)), used: len(kept), live: len(kept), gone: make([]uint64, len(kept)/64+1)}
	const left = math.MaxUint32
	to := slices.Repeat([]handle{left}, len(rows))
	for h, p := range kept {
		t.first[h], to[p.from] = rows[p.from], handle(h)
	}
	listed := posts[:0]
	for _, p := range posts {
		if h := to[p.handle()]; h != left {
			listed = append(listed, newPost(p.value(), h))
		}
	}
	slices.Sort(listed) // handles are in the order of time
	t.posts = newTree(listed, x.leaf, nil)
	handles := to[:len(kept)]
	sorted := func(by func(r *row) uint32) []handle {
		keys := make([]uint64, len(handles))
		for h := range keys {
			keys[h] = uint64(by(&t.first[h]))<<32 | uint64(h)
		}
		slices.Sort(keys)
		for i, key := range keys {
			handles[i] = handle(key)
		}
		return handles
	}
	t.byUID = newTree(sorted(func(r *row) uint32 { return r.check }), x.leaf, nil)
	t.byAmount = newTree(sorted(func(r *row) uint32 { return r.amount }), x.leaf, t.row)
	t.byTime = newTree(sorted(func(*row) uint32 { return 0 }), x.leaf, t.row)
	return t
}
