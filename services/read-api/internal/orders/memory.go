package orders

import (
	"math"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

const (
	// maxExamined bounds the rows that are examined for a page from memory: as many as take
	// about a millisecond.
	maxExamined = 16_000
	// recordCost is how many rows may be examined in the time that a record takes.
	recordCost = 50
)

// list is a page as of the last round. It returns false if only the database has it.
func (x *index) list(f Filter, after *Key, limit int) (page Page, ok bool) {
	if !x.ready.Load() || f.needsDelivery() || f.needsItems() { // of which rows know nothing
		return Page{}, false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.table == nil {
		return Page{}, false
	}
	want, possible := x.wanted(f)
	if !possible {
		return Page{}, true
	}
	s := &lookup{x: x, table: x.table}
	tree, created, uid, from := byTime, int64(math.MaxInt64), "", int64(math.MinInt64)
	switch {
	case f.TrackNumber != "":
		tree = byTrack
	case f.CustomerID != "":
		tree = byCustomer
	}
	if f.CreatedTo != nil {
		created = f.CreatedTo.UnixMicro() + 1
	}
	if after != nil && after.Created.UnixMicro() < created {
		created, uid = after.Created.UnixMicro(), after.UID
	}
	if f.CreatedFrom != nil {
		from = f.CreatedFrom.UnixMicro()
	}
	ok = x.walk(s, &want, tree, s.seek(tree, want.group(tree), created, uid), from, limit, &page)
	return page, ok && !s.lost
}

// walk fills a page from a place of a tree on.
func (x *index) walk(s *lookup, want *wanted, tree int, at spot, from int64, limit int, page *Page) bool {
	cost := 0
	var last, listed *row // that was examined, and that the page has
	for h := range s.table.trees[tree].down(at) {
		r := s.table.row(h)
		if r.group(tree) != want.group(tree) || r.created < from {
			return true // the list ends
		}
		if cost >= x.most {
			page.Next = &Key{Created: time.UnixMicro(last.created).UTC(), UID: s.uid(last)}
			return true
		}
		cost, last = cost+1, r
		if !want.may(r) {
			continue
		}
		record, found := x.record(r)
		if !found {
			return false
		}
		body := record.Bytes()
		o, found := model.FromCanonical(body)
		if !found || x.rowOf(o, false) != *r {
			return false // it changes in this moment
		}
		switch {
		case !want.Matches(o): // a hash is another value's, too
			cost += recordCost
		case len(page.UIDs) == limit:
			page.Next = &Key{Created: time.UnixMicro(listed.created).UTC(), UID: page.UIDs[limit-1]}
			return true
		default:
			page.UIDs, page.Orders, listed = append(page.UIDs, o.OrderUID), append(page.Orders, body), r
		}
	}
	return true
}
