package orders

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

// What a search does has a cost: 1 is the time that it takes to look at a row.
const (
	// maxCost bounds a page: that is about a millisecond.
	maxCost = 16_000
	// recordCost is that of reading a record, deliveryCost that of finding texts of the delivery in
	// its JSON besides, and decodeCost that of decoding it.
	recordCost   = 20
	deliveryCost = 12
	decodeCost   = 60
	// maxSorted is about how many rows are sorted for a page at most. Where one of the
	// filter's conditions leaves no more, it is quicker to sort these than to look for them
	// in the order of the list.
	maxSorted = 8_000
	// maxCountCost bounds a count, in which rows are next to each other and so cost less,
	// and records countedCost more in comparison: that is some 50 milliseconds, for which the
	// next round may have to wait.
	maxCountCost = 200 * maxCost
	countedCost  = 7 * decodeCost
)

// finder looks for the orders of a filter in a table.
type finder struct {
	lookup
	want  wanted
	after *Key // nil: from the beginning
	limit int
	page  Page
	cost  int
	run   []*row // that may match, next in the list, but in no order yet
	ranks []ranked
	last  *row // that was looked at
	end   *row // the page's last
	place *Key // of the rows that are looked for in the tree by time; nil: of all
}

// search calls do with a finder, as of the last round, if any order may match. It returns
// false if only the database has the answer.
func (x *index) search(f Filter, do func(*finder)) (ok bool) {
	if !x.ready.Load() {
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.table == nil {
		return false
	}
	want, possible := x.wanted(f)
	if !possible {
		return true
	}
	s := &finder{lookup: lookup{x: x, table: x.table}, want: want}
	do(s)
	return !s.lost
}

// list is a page as of the last round. It returns false if only the database has it.
func (x *index) list(f Filter, after *Key, limit int) (page Page, ok bool) {
	ok = x.search(f, func(s *finder) {
		s.after, s.limit = after, limit
		s.list()
		page = s.page
	})
	return page, ok
}

// count is how many orders match, or about, as of the last round.
func (x *index) count(f Filter) (n int64, exact, ok bool) {
	exact = true
	ok = x.search(f, func(s *finder) {
		w, seen := s.narrowest(), 0
		w.rows(func(r *row) bool {
			seen, s.cost = seen+1, s.cost+1
			if s.want.may(r) {
				matches := s.want.tells(r)
				if !matches {
					_, _, matches = s.match(r)
					s.cost += countedCost
				}
				if matches {
					n++
				}
			}
			exact = s.cost < maxCountCost
			return exact && !s.lost
		})
		if !exact {
			n = int64(float64(n) * float64(w.size) / float64(seen))
		}
	})
	return n, exact, ok
}

// list fills the page from all rows in its order, or from the rows of a value, or from few
// rows that it sorts.
func (s *finder) list() {
	switch w := s.narrowest(); {
	case w.posts && w.size <= max(maxSorted, s.live/8):
		s.walkPosts(w.value)
	case w.size > maxSorted || !w.byValue && w.size > s.live/8:
		s.walkAll()
	default:
		w.rows(func(r *row) bool {
			s.cost++
			if s.want.may(r) {
				s.run = append(s.run, r)
			}
			return len(s.run) <= 2*maxSorted
		})
		if len(s.run) > 2*maxSorted { // the size was only about right
			s.run, s.cost = s.run[:0], 0
			s.walkAll()
			return
		}
		s.flush()
	}
}

// way is a part of the rows that has all that may match.
type way struct {
	size    int // about
	rows    func(use func(*row) bool)
	byValue bool // rows do not tell whether an order has the value
	posts   bool // it is the posts of one value, which are in the order of the list
	value   uint32
}

// narrowest is the way with the fewest rows.
func (s *finder) narrowest() way {
	from, to := s.timeRange()
	ways := []way{s.wayOf(s.byTime, from, to)}
	if s.want.needsPayment() {
		from, to := s.amounts().between(s.want.amountMin, s.want.amountMax)
		ways = append(ways, s.wayOf(s.byAmount, from, to))
	}
	if s.want.needsUpdated() {
		from, to := s.updates().between(s.want.updatedMin, s.want.updatedMax)
		ways = append(ways, s.wayOf(s.byUpdated, from, to))
	}
	for _, values := range s.want.values {
		ways = append(ways, s.postsOf(values))
	}
	return slices.MinFunc(ways, func(a, b way) int { return cmp.Compare(a.size, b.size) })
}

func (s *finder) wayOf(t *tree, from, to spot) way {
	return way{size: t.between(from, to), rows: func(use func(*row) bool) {
		t.walk(from, to, false, s.want.mayHave, func(item item) bool { return use(s.row(item.handle())) })
	}}
}

// timeRange is where in byTime all orders are that may match.
func (s *finder) timeRange() (from, to spot) {
	from, to = s.timeSpot(s.want.from, ""), s.byTime.end()
	if s.want.to < math.MaxInt64 {
		to = s.timeSpot(s.want.to+1, "")
	}
	return from, to
}

// postRange is the same in posts, of a value.
func (s *finder) postRange(value uint32) (from, to spot) {
	return s.postSpot(value, s.want.from, 0), s.postSpot(value, s.want.to, math.MaxUint32)
}

func (s *finder) postsOf(values []uint32) way {
	w := way{byValue: true}
	for _, value := range values {
		w.size += s.posts.between(s.postRange(value))
	}
	if len(values) == 1 && !s.want.Sort.Ranked() {
		w.posts, w.value = true, values[0]
	}
	w.rows = func(use func(*row) bool) {
		seen, more := map[handle]bool{}, true // an order may have several of the values
		for _, value := range values {
			from, to := s.postRange(value)
			s.posts.walk(from, to, false, nil, func(post item) bool {
				h := post.handle()
				if s.isGone(h) || seen[h] {
					return true
				}
				if len(values) > 1 {
					seen[h] = true
				}
				more = use(s.row(h))
				return more
			})
			if !more {
				return
			}
		}
	}
	return w
}

// match tells whether a row's order matches, and returns its order_uid and canonical JSON.
func (s *finder) match(r *row) (uid string, body []byte, matches bool) {
	s.cost += recordCost
	record, ok := s.x.record(r)
	if !ok || s.x.version(record) != r.version {
		s.lost = true
		return "", nil, false
	}
	body = record.Bytes()
	if s.want.tells(r) {
		return record.UID(), body, s.want.may(r)
	}
	if s.want.needsDelivery() { // which rules most orders out where a prefix is wanted
		s.cost += deliveryCost
		switch delivered, ok := s.want.deliveredTo(body); {
		case ok && !delivered:
			return record.UID(), body, false
		case ok && s.want.tellsRest(r):
			return record.UID(), body, s.want.may(r)
		}
	}
	o := s.decode(body)
	return record.UID(), body, o != nil && s.want.Matches(o, r.updated) // a hash is another value's, too
}

func (s *finder) decode(body []byte) *model.Order {
	s.cost += decodeCost
	o, ok := model.FromCanonical(body)
	s.lost = s.lost || !ok
	return o
}

// ranked is a row with its place in the list that ascends.
type ranked struct {
	*row
	rank int64  // if the list is sorted by one
	uid  string // "": not needed
}

func (s *finder) rank(r *row) ranked {
	return ranked{row: r, rank: s.rankOf(r)}
}

// sort reads only those order_uids that it needs.
func (s *finder) sort(run []ranked, sign int) {
	slices.SortFunc(run, func(a, b ranked) int {
		return sign * cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.created, b.created))
	})
	for rest := run; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].rank == rest[0].rank && rest[n].created == rest[0].created {
			n++
		}
		same := rest[:n]
		if rest = rest[n:]; n > 1 {
			for i := range same {
				same[i].uid = s.uid(same[i].row)
			}
			slices.SortFunc(same, func(a, b ranked) int { return sign * strings.Compare(a.uid, b.uid) })
		}
	}
}

// passes tells whether an order is not after a key.
func (s *finder) passes(p ranked, k *Key, sign int) bool {
	c := cmp.Or(cmp.Compare(p.rank, k.Rank), cmp.Compare(p.created, k.Created.UnixMicro()))
	if c == 0 {
		c = strings.Compare(s.uid(p.row), k.UID)
	}
	return sign*c <= 0
}

func (s *finder) key(r *row) *Key {
	return &Key{Rank: s.rankOf(r), Created: time.UnixMicro(r.created).UTC(), UID: s.uid(r)}
}

// rankOf is Key.Rank.
func (s *finder) rankOf(r *row) int64 {
	switch {
	case !s.want.Sort.Ranked():
		return 0
	case s.want.Sort.byUpdate():
		return int64(r.updated)
	case r.amount < math.MaxUint32:
		return int64(r.amount)
	}
	if _, body, _ := s.match(r); body != nil {
		if o := s.decode(body); o != nil && o.Payment != nil {
			return o.Payment.Amount
		}
	}
	return 0 // it is lost
}
