package orders

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// index finds the orders of lists in the cache, to which it subscribes. It has a row for each
// order, without pointers, and trees of rows; the rest it reads from records. Changes are
// applied when their round is complete, so that a list has the orders of one position.
//
// There is none, and lists are read from the database, while the cache does not hold all
// orders, and after it was filled or relisted until the rows of all orders have been read
// beside the work.
//
// Trees need the order_uids of orders with the same date_created, which only the records
// have. Where a record has changed or gone since the last round, a reader asks the
// database.
type index struct {
	cache *cache.Cache
	hash  func(string) uint32 // of values; the same one may have several
	check func(uid string) uint32
	names names
	most  int // maxExamined
	least int // leastPending

	// These belong to the cache's goroutine.
	pending  map[identity]pending // what has changed since the last complete round
	room     int                  // of pending
	overflow bool                 // pending had too little room
	building *build               // nil: none
	builds   sync.WaitGroup

	ready atomic.Bool // table is that of the last round
	mu    sync.RWMutex
	table *table // nil: none
}

// identity stands for an order_uid. That two have the same one is as likely as that
// memory fails.
type identity struct {
	hash  uint64
	check uint32
}

func (r *row) identity() identity { return identity{r.uid, r.check} }

type pending struct {
	uid  string
	gone bool
	row  row
}

// build makes a table of all orders.
type build struct {
	stopped atomic.Bool
	table   atomic.Pointer[table] // nil: not yet
	failed  atomic.Bool
}

func newIndex(c *cache.Cache) *index {
	seed := maphash.MakeSeed()
	hash := func(text string) uint32 { return uint32(maphash.String(seed, text)) }
	x := &index{cache: c, hash: hash, check: hash, most: maxExamined, least: leastPending, names: names{numbers: map[string]uint16{}}}
	c.Subscribe(x)
	return x
}

// stop ends what runs beside the work. It is called after the cache's last round.
func (x *index) stop() {
	x.drop()
	x.builds.Wait()
}

// Begin implements cache.Subscriber.
func (x *index) Begin(changes.Position, bool) {}

// Put implements cache.Subscriber.
func (x *index) Put(o *model.Order, _ []byte, changed bool) {
	if changed && x.hasRoom() {
		r := x.rowOf(o, true)
		x.pending[r.identity()] = pending{uid: strings.Clone(o.OrderUID), row: r}
	}
}

// Delete implements cache.Subscriber.
func (x *index) Delete(uid string, changed bool) {
	if changed && x.hasRoom() {
		x.pending[identity{x.cache.Hash(uid), x.check(uid)}] = pending{uid: strings.Clone(uid), gone: true}
	}
}

// leastPending and a tenth of the orders are how many changes may be pending. With more, as
// where a relist changes all orders, it takes less to read all rows again.
const leastPending = 100_000

// hasRoom tells whether a change is to be pending.
func (x *index) hasRoom() bool {
	if x.pending != nil && len(x.pending) >= x.room {
		x.drop()
		x.overflow = true
	}
	return x.pending != nil
}

// Relisted implements cache.Subscriber.
func (x *index) Relisted(_ changes.Position, known bool) {
	if known && x.pending != nil {
		return // the round that follows applies them
	}
	x.begin()
}

// begin has a table made of all orders.
func (x *index) begin() {
	x.drop()
	held := x.cache.Stats()
	if !held.Complete {
		return
	}
	x.pending, x.building = map[identity]pending{}, &build{}
	x.room = max(x.least, int(held.Orders/10))
	b := x.building
	x.builds.Go(func() {
		x.build(b)
		x.cache.Refresh() // the round takes it
	})
}

// Applied implements cache.Subscriber.
func (x *index) Applied(changes.Position) {
	switch b := x.building; {
	case x.overflow:
		x.begin()
		return
	case x.pending == nil:
		return
	case !x.cache.Stats().Complete || b != nil && b.failed.Load():
		x.drop()
		return
	case b != nil && b.table.Load() == nil:
		return
	}
	x.mu.Lock()
	if x.building != nil {
		x.table, x.building = x.building.table.Load(), nil
	}
	ok := x.apply()
	bytes := x.table.bytes()
	x.mu.Unlock()
	if !ok {
		x.drop()
		return
	}
	if len(x.pending) > 0 {
		x.pending = map[identity]pending{}
	}
	x.cache.SetIndexBytes(bytes)
	x.ready.Store(true)
}

// drop has lists read from the database from now on.
func (x *index) drop() {
	if x.building != nil {
		x.building.stopped.Store(true)
	}
	x.ready.Store(false)
	x.pending, x.building, x.overflow = nil, nil, false
	x.mu.Lock()
	x.table = nil
	x.mu.Unlock()
	x.cache.SetIndexBytes(0)
}

// record returns the record of a row's order. It may be ahead of the row, or gone.
func (x *index) record(r *row) (cache.Record, bool) {
	return x.cache.Find(r.uid, func(uid string) bool { return x.check(uid) == r.check })
}

// The trees, each in the order of group, date_created and order_uid.
const (
	byTime = iota
	byUID
	byCustomer
	byTrack
	treeCount
)

// group is the number whose orders are together in a tree.
func (r *row) group(tree int) uint32 {
	switch tree {
	case byUID:
		return r.check
	case byCustomer:
		return r.customer
	case byTrack:
		return r.track
	}
	return 0
}

// table is the rows and trees of one position.
type table struct {
	first []row             // of the build
	more  []*[rowsChunk]row // those that came later
	used  int               // rows that have a handle, or had one
	free  []handle          // whose rows are not used now
	trees [treeCount]tree
}

const rowsChunk = 1024

func (t *table) row(h handle) *row {
	if int(h) < len(t.first) {
		return &t.first[h]
	}
	h -= handle(len(t.first))
	return &t.more[h/rowsChunk][h%rowsChunk]
}

// add returns a handle for a row.
func (t *table) add(r row) (h handle) {
	if last := len(t.free) - 1; last >= 0 {
		h, t.free = t.free[last], t.free[:last]
	} else {
		if t.used == len(t.first)+rowsChunk*len(t.more) {
			t.more = append(t.more, new([rowsChunk]row))
		}
		h = handle(t.used)
		t.used++
	}
	*t.row(h) = r
	return h
}

func (t *table) bytes() int64 {
	const rowBytes, handleBytes = 40, 4
	sum := rowBytes*int64(cap(t.first)+rowsChunk*len(t.more)) + handleBytes*int64(cap(t.free))
	for i := range t.trees {
		sum += t.trees[i].bytes()
	}
	return sum
}

// lookup looks for places in the trees.
type lookup struct {
	x       *index
	table   *table
	pending map[identity]pending // for the cache's goroutine
	lost    bool                 // an order_uid that was needed is not known: the result is wrong
}

// seek returns the place of the first order that is not before one. uid may be "": that is
// before all others.
func (s *lookup) seek(tree int, group uint32, created int64, uid string) spot {
	return s.table.trees[tree].seek(func(h handle) bool {
		r := s.table.row(h)
		c := cmp.Or(cmp.Compare(r.group(tree), group), cmp.Compare(r.created, created))
		if c == 0 && uid != "" {
			c = strings.Compare(s.uid(r), uid)
		}
		return c < 0
	})
}

func (s *lookup) uid(r *row) string {
	if record, ok := s.x.record(r); ok {
		return record.UID()
	}
	p, ok := s.pending[r.identity()]
	s.lost = s.lost || !ok
	return p.uid
}

// apply brings the table up to date. It returns false if the cache has lost an order.
func (x *index) apply() bool {
	s := &lookup{x: x, table: x.table, pending: x.pending}
	for id, p := range x.pending {
		h, known := s.handle(id)
		if known && !p.gone && *s.table.row(h) == p.row {
			continue
		}
		if known {
			s.remove(h, p.uid)
		}
		if !p.gone {
			s.insert(p.row, p.uid)
		}
		if s.lost {
			return false
		}
	}
	return true
}

func (s *lookup) handle(id identity) (handle, bool) {
	for h := range s.table.trees[byUID].up(s.seek(byUID, id.check, math.MinInt64, "")) {
		r := s.table.row(h)
		if r.identity() == id {
			return h, true
		}
		if r.check != id.check {
			break
		}
	}
	return 0, false
}

func (s *lookup) insert(r row, uid string) {
	h := s.table.add(r)
	for i := range s.table.trees {
		s.table.trees[i].insert(s.seek(i, r.group(i), r.created, uid), h)
	}
}

func (s *lookup) remove(h handle, uid string) {
	r := *s.table.row(h)
	for i := range s.table.trees {
		t := &s.table.trees[i]
		at := s.seek(i, r.group(i), r.created, uid)
		if s.lost = s.lost || at.leaf == len(t.leaves) || t.leaves[at.leaf].handles[at.at] != h; s.lost {
			return
		}
		t.remove(at)
	}
	s.table.free = append(s.table.free, h)
}

// build reads all orders. Those that change meanwhile are pending.
func (x *index) build(b *build) {
	expected := x.cache.Stats().Orders
	rows := make([]row, 0, expected+expected/64)
	x.cache.Each(func(record cache.Record) bool {
		record.View(func(canonical []byte) {
			o, ok := model.FromCanonical(canonical)
			if !ok {
				b.failed.Store(true)
				return
			}
			rows = append(rows, x.rowOf(o, true))
		})
		return !b.failed.Load() && !b.stopped.Load()
	})
	if !b.failed.Load() && !b.stopped.Load() {
		b.table.Store(x.tabulate(rows))
	}
}

// tabulate makes a table of rows, which it sorts.
func (x *index) tabulate(rows []row) *table {
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.created, b.created) })
	t := &table{first: x.sortSame(rows)}
	t.used = len(t.first)
	// The handles are in the order of time, so only a group is to be sorted by.
	keys, sorted := make([]uint64, t.used), make([]handle, t.used)
	for tree := range t.trees {
		for h := range t.first {
			keys[h] = uint64(t.first[h].group(tree))<<32 | uint64(h)
		}
		slices.Sort(keys)
		for i, key := range keys {
			sorted[i] = handle(key)
		}
		t.trees[tree] = newTree(sorted)
	}
	return t
}

// sortSame sorts rows that have the same date_created by order_uid. It leaves those out whose
// orders have gone.
func (x *index) sortSame(rows []row) []row {
	type named struct {
		uid string
		row
	}
	kept := rows[:0]
	var same []named
	for from := 0; from < len(rows); {
		end := from + 1
		for end < len(rows) && rows[end].created == rows[from].created {
			end++
		}
		same = same[:0]
		for _, r := range rows[from:end] {
			if record, ok := x.record(&r); ok {
				same = append(same, named{record.UID(), r})
			}
		}
		slices.SortFunc(same, func(a, b named) int { return strings.Compare(a.uid, b.uid) })
		for _, one := range same {
			kept = append(kept, one.row)
		}
		from = end
	}
	return kept
}
