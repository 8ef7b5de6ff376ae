package orders

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

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
	cache  *cache.Cache
	seed   maphash.Seed
	hash   func(string) uint32 // of values; the same one may have several
	names  names
	most   int // maxCost
	same   int // maxSame
	least  int // leastPending
	leaf   int // leafBytes
	narrow int // narrowHandles

	// These belong to the cache's goroutine.
	pending  map[uint64]pending // what has changed since the last complete round, by row.uid
	room     int                // of pending
	overflow bool               // pending had too little room
	building *build             // nil: none
	builds   sync.WaitGroup

	ready atomic.Bool // table is that of the last round
	mu    sync.RWMutex
	table *table // nil: none
}

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
	x := &index{cache: c, seed: seed, hash: hash, most: maxCost, same: maxSame, least: leastPending, leaf: leafBytes, narrow: narrowHandles, names: names{numbers: map[string]uint16{}}}
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
func (x *index) Put(o changes.Order, changed bool) {
	if changed && x.hasRoom() {
		record, ok := x.own(o.OrderUID)
		if !ok {
			x.drop()
			return
		}
		r, values := x.rowOf(o.Order, record)
		x.pending[r.uid] = pending{uid: strings.Clone(o.OrderUID), row: r, values: values}
	}
}

// Delete implements cache.Subscriber.
func (x *index) Delete(uid string, changed bool) {
	if changed && x.hasRoom() {
		x.pending[x.cache.Hash(uid)] = pending{uid: strings.Clone(uid), gone: true}
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
func (x *index) Relisted(to changes.Position, known bool) {
	if known && x.pending != nil {
		x.Applied(to)
		return
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
	x.pending, x.building = map[uint64]pending{}, &build{}
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
		x.pending = map[uint64]pending{}
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

// own returns the record of an order. There is none where the cache is full, or finds another
// order by its hash: then the index cannot tell the two apart, and does without.
func (x *index) own(uid string) (cache.Record, bool) {
	record, ok := x.cache.Find(x.cache.Hash(uid))
	return record, ok && record.UID() == uid
}

// record returns the record of a row's order. It may be ahead of the row, or gone.
func (x *index) record(r *row) (cache.Record, bool) { return x.cache.Find(r.uid) }
