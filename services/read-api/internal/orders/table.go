package orders

import (
	"cmp"
	"math"
	"strings"
)

// table is the rows and trees of one position.
type table struct {
	first []row             // of the build
	more  []*[rowsChunk]row // those that came later
	used  int               // rows that have a handle, or had one
	free  []handle          // whose rows are not used now
	live  int

	byTime    *tree // then by order_uid
	byUID     *tree // by order_uid
	byAmount  *tree // then by created, then by handle
	byUpdated *tree // "
	posts     *tree // by value, then by created, then by handle

	// Posts of rows that are gone stay until the next pass through the posts has ended.
	gone          []uint64 // a bit for each handle
	dying, buried []handle // that went since the pass began, and before
	sweeping      int      // the leaf that the pass has reached
}

const (
	rowsChunk = 1024
	// narrowHandles is how many rows have handles of 3 bytes.
	narrowHandles = 1 << 24
)

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

// widen gives handles 4 bytes, if they need it with so many rows more.
func (t *table) widen(more, narrow int) {
	if t.posts.wide || t.used+more <= narrow {
		return
	}
	for _, tree := range []*tree{t.byTime, t.byUID, t.byAmount, t.byUpdated, t.posts} {
		tree.widen()
	}
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
		t.posts.removeIf(t.sweeping, func(post item) bool { return t.isGone(post.handle()) })
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
		t.byTime.bytes() + t.byUID.bytes() + t.byAmount.bytes() + t.byUpdated.bytes() + t.posts.bytes()
}

// lookup looks for places in the trees.
type lookup struct {
	x *index
	*table
	pending map[uint64]pending // for the cache's goroutine
	lost    bool               // an order that was needed is not known, or changes in this moment: the result is wrong
}

// timeSpot is the place of the first order that is not before one. uid may be "": that is
// before all others.
func (s *lookup) timeSpot(created int64, uid string) spot {
	return s.byTime.seek(timeKey(created), func(_ uint16, item item) bool {
		r := s.row(item.handle())
		c := cmp.Compare(r.created, created)
		if c == 0 && uid != "" {
			c = strings.Compare(s.uid(r), uid)
		}
		return c < 0
	})
}

// timeKey sorts as times do, also those before 1970.
func timeKey(created int64) uint64 { return uint64(created) ^ 1<<63 }

// uidSpot is the place of the first order_uid that is not before one.
func (s *lookup) uidSpot(uid string) spot {
	return s.byUID.seek(uidPart(uid, 0), func(_ uint16, item item) bool { return s.uid(s.row(item.handle())) < uid })
}

// ranking is a tree of rows by a number that they have.
type ranking struct {
	*table
	tree *tree
	rank func(*row) uint32
}

func (t *table) amounts() ranking {
	return ranking{t, t.byAmount, func(r *row) uint32 { return r.amount }}
}

func (t *table) updates() ranking {
	return ranking{t, t.byUpdated, func(r *row) uint32 { return r.updated }}
}

func (t ranking) spot(rank uint32, created int64, h handle) spot {
	return t.tree.seek(uint64(rank), func(_ uint16, other item) bool {
		r := t.row(other.handle())
		return cmp.Or(cmp.Compare(t.rank(r), rank), cmp.Compare(r.created, created), cmp.Compare(other.handle(), h)) < 0
	})
}

// between is where rows have these ranks.
func (t ranking) between(least, most uint32) (from, to spot) {
	return t.spot(least, math.MinInt64, 0), t.spot(most, math.MaxInt64, math.MaxUint32)
}

// of is the place of a row that is there.
func (t ranking) of(h handle) spot {
	r := t.row(h)
	return t.spot(t.rank(r), r.created, h)
}

func (t *table) postSpot(value uint32, created int64, h handle) spot {
	return t.posts.seek(uint64(value), func(head uint16, post item) bool {
		c := cmp.Compare(valueOf(head, post), value)
		if c == 0 {
			c = cmp.Or(cmp.Compare(t.row(post.handle()).created, created), cmp.Compare(post.handle(), h))
		}
		return c < 0
	})
}

func (s *lookup) uid(r *row) string {
	if record, ok := s.x.record(r); ok {
		return record.UID()
	}
	p, ok := s.pending[r.uid]
	s.lost = s.lost || !ok
	return p.uid
}

// apply brings the table up to date. It returns false if the cache has lost an order.
func (x *index) apply() bool {
	s := &lookup{x: x, table: x.table, pending: x.pending}
	s.byUID.key = func(_ uint16, last item) uint64 { return uidPart(s.uid(s.row(last.handle())), 0) }
	s.widen(len(x.pending), x.narrow)
	for _, p := range x.pending {
		at := s.uidSpot(p.uid)
		before, more := s.byUID.at(at)
		known := more && s.uid(s.row(before.handle())) == p.uid
		if known {
			s.remove(before.handle(), p.uid)
		}
		switch {
		case known && p.gone:
			s.byUID.remove(at)
		case known:
			s.byUID.replace(at, newItem(0, s.insert(p)))
		case !p.gone:
			s.byUID.insert(at, 0, newItem(0, s.insert(p)))
		}
		if s.lost {
			return false
		}
	}
	x.table.sweep(len(x.pending))
	s.pending = nil // byUID keeps s
	return true
}

// insert puts an order everywhere but into byUID.
func (s *lookup) insert(p pending) handle {
	r, h := p.row, s.add(p.row)
	s.byTime.insert(s.timeSpot(r.created, p.uid), 0, newItem(0, h))
	for _, t := range []ranking{s.amounts(), s.updates()} {
		t.tree.insert(t.of(h), 0, newItem(0, h))
	}
	for _, value := range p.values {
		s.posts.insert(s.postSpot(value, r.created, h), headOf(value), newPost(value, h))
	}
	return h
}

// remove takes an order's row out of all trees but byUID.
func (s *lookup) remove(h handle, uid string) {
	at := s.timeSpot(s.row(h).created, uid)
	if there, ok := s.byTime.at(at); s.lost || !ok || there.handle() != h {
		s.lost = true
		return
	}
	s.byTime.remove(at)
	for _, t := range []ranking{s.amounts(), s.updates()} {
		t.tree.remove(t.of(h))
	}
	s.bury(h)
}
