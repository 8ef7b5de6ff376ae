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
// Lists need the order_uids of orders with the same date_created, which only the records
// have. Where a record has changed or gone since the last round, a reader asks the
// database.
type index struct {
	cache *cache.Cache
	seed  maphash.Seed
	hash  func(string) uint32 // of values; the same one may have several
	check func(uid string) uint32
	names names
	most  int // maxCost
	least int // leastPending
	leaf  int // leafItems

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
	uid    string
	gone   bool
	row    row
	values []uint32
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
	x := &index{cache: c, seed: seed, hash: hash, check: hash, most: maxCost, least: leastPending, leaf: leafItems, names: names{numbers: map[string]uint16{}}}
	x.names.add("") // is always possible
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
		record, ok := x.cache.Find(x.cache.Hash(o.OrderUID), func(uid string) bool { return uid == o.OrderUID })
		if !ok {
			x.drop() // it is full
			return
		}
		r, values := x.rowOf(o, record)
		x.pending[r.identity()] = pending{uid: strings.Clone(o.OrderUID), row: r, values: values}
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

// table is the rows and trees of one position.
type table struct {
	first []row             // of the build
	more  []*[rowsChunk]row // those that came later
	used  int               // rows that have a handle, or had one
	free  []handle          // whose rows are not used now
	live  int

	byTime   *tree[handle] // then by order_uid
	byUID    *tree[handle] // by check, then anyhow
	byAmount *tree[handle] // then by created, then by handle
	posts    *tree[post]   // by value, then by created, then by handle

	// Posts of rows that are gone stay until the next pass through the posts has ended.
	gone          []uint64 // a bit for each handle
	dying, buried []handle // that went since the pass began, and before
	sweeping      int      // the leaf that the pass has reached
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
		if len(t.gone) <= int(h/64) {
			t.gone = append(t.gone, 0)
		}
	}
	*t.row(h) = r
	t.live++
	return h
}

func (t *table) isGone(h handle) bool { return t.gone[h/64]>>(h%64)&1 == 1 }

func (t *table) bury(h handle) {
	t.gone[h/64] |= 1 << (h % 64)
	t.dying = append(t.dying, h)
	t.live--
}

// leastGone and a sixteenth of the rows are how many may have gone before a pass begins.
const leastGone = 1024

// sweep takes posts of gone rows out of some leaves. changes is how many changes there were.
func (t *table) sweep(changes int) {
	if t.buried == nil {
		if len(t.dying) < leastGone+t.used/16 {
			return
		}
		t.buried, t.dying, t.sweeping = t.dying, nil, 0
	}
	// So many that the pass ends before the next one is due.
	for n := changes * (1 + 16*len(t.posts.leaves)/(t.used+1)); n > 0 && t.sweeping < len(t.posts.leaves); n-- {
		l := t.posts.leaves[t.sweeping]
		t.posts.leaves[t.sweeping] = slices.DeleteFunc(l, func(p post) bool { return t.isGone(p.handle()) })
		if before := t.sweeping - 1; !t.posts.join(t.sweeping) && !t.posts.join(before) {
			t.sweeping++
		}
	}
	if t.sweeping < len(t.posts.leaves) {
		return
	}
	for _, h := range t.buried {
		t.gone[h/64] &^= 1 << (h % 64)
	}
	t.free, t.buried = append(t.free, t.buried...), nil
}

func (t *table) bytes() int64 {
	const rowBytes, handleBytes = 40, 4
	return rowBytes*int64(cap(t.first)+rowsChunk*len(t.more)) + handleBytes*int64(cap(t.free)+cap(t.dying)+cap(t.buried)) + 8*int64(cap(t.gone)) +
		t.byTime.bytes() + t.byUID.bytes() + t.byAmount.bytes() + t.posts.bytes()
}

// lookup looks for places in the trees.
type lookup struct {
	x *index
	*table
	pending map[identity]pending // for the cache's goroutine
	lost    bool                 // an order that was needed is not known, or changes in this moment: the result is wrong
}

// timeSpot is the place of the first order that is not before one. uid may be "": that is
// before all others.
func (s *lookup) timeSpot(created int64, uid string) spot {
	return s.byTime.seek(func(h handle) bool {
		r := s.row(h)
		c := cmp.Compare(r.created, created)
		if c == 0 && uid != "" {
			c = strings.Compare(s.uid(r), uid)
		}
		return c < 0
	})
}

func (t *table) uidSpot(check uint32) spot {
	return t.byUID.seek(func(h handle) bool { return t.row(h).check < check })
}

func (t *table) amountSpot(amount uint32, created int64, h handle) spot {
	return t.byAmount.seek(func(other handle) bool {
		r := t.row(other)
		return cmp.Or(cmp.Compare(r.amount, amount), cmp.Compare(r.created, created), cmp.Compare(other, h)) < 0
	})
}

func (t *table) postSpot(value uint32, created int64, h handle) spot {
	return t.posts.seek(func(p post) bool {
		c := cmp.Compare(p.value(), value)
		if c == 0 {
			c = cmp.Or(cmp.Compare(t.row(p.handle()).created, created), cmp.Compare(p.handle(), h))
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
		if at, known := s.find(id); known {
			s.remove(at, p.uid)
		}
		if !p.gone {
			s.insert(p.row, p.values, p.uid)
		}
		if s.lost {
			return false
		}
	}
	x.table.sweep(len(x.pending))
	return true
}

// find returns the place of an order in byUID.
func (s *lookup) find(id identity) (at spot, ok bool) {
	for at = s.uidSpot(id.check); ; at = s.byUID.after(at) {
		h, more := s.byUID.at(at)
		if !more || s.row(h).check != id.check {
			return at, false
		}
		if s.row(h).identity() == id {
			return at, true
		}
	}
}

func (s *lookup) insert(r row, values []uint32, uid string) {
	h := s.add(r)
	s.byTime.insert(s.timeSpot(r.created, uid), h)
	s.byUID.insert(s.uidSpot(r.check), h)
	s.byAmount.insert(s.amountSpot(r.amount, r.created, h), h)
	for _, value := range values {
		s.posts.insert(s.postSpot(value, r.created, h), newPost(value, h))
	}
}

func (s *lookup) remove(at spot, uid string) {
	h, _ := s.byUID.at(at)
	r := s.row(h)
	s.byUID.remove(at)
	at = s.timeSpot(r.created, uid)
	if there, ok := s.byTime.at(at); s.lost || !ok || there != h {
		s.lost = true
		return
	}
	s.byTime.remove(at)
	s.byAmount.remove(s.amountSpot(r.amount, r.created, h))
	s.bury(h)
}

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
