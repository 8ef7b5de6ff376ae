package orders

import "math"

// maxSame is about how many rows that a list has at one place are read for their order_uids,
// which say in what order they come.
const maxSame = 200

// walkPosts goes through the rows of a value.
func (s *finder) walkPosts(value uint32) {
	down := s.want.Sort.down()
	from, to := s.postRange(value)
	if s.after != nil {
		from, to = part(from, to, s.postSpot(value, s.after.Created.UnixMicro(), s.after.edge(down)), down)
	}
	more := true
	s.posts.walk(from, to, down, nil, func(post item) bool {
		if s.isGone(post.handle()) {
			s.cost++
			return true
		}
		more = s.add(s.row(post.handle()), func(a, b *row) bool { return a.created == b.created })
		return more
	})
	if more {
		s.flush()
	}
}

// walkAll goes through all rows.
func (s *finder) walkAll() {
	if !s.want.Sort.Ranked() {
		s.walkTime()
		return
	}
	down, more := s.want.Sort.down(), true
	t, least, most := s.amounts(), s.want.amountMin, s.want.amountMax
	if s.want.Sort.byUpdate() {
		t, least, most = s.updates(), s.want.updatedMin, s.want.updatedMax
	}
	from, to := t.between(least, most)
	if s.after != nil {
		rank, created := clamped(s.after.Rank), s.after.Created.UnixMicro()
		switch {
		case rank < math.MaxUint32:
			from, to = part(from, to, t.spot(rank, created, s.after.edge(down)), down)
		case !down || s.after.UID == firstUID:
			from, to = part(from, to, t.spot(rank, math.MinInt64, 0), down)
		}
	}
	t.tree.walk(from, to, down, s.want.mayHave, func(item item) bool {
		more = s.add(s.row(item.handle()), func(a, b *row) bool {
			return t.rank(a) == t.rank(b) && (a.created == b.created || t.rank(a) == math.MaxUint32)
		})
		return more
	})
	if more {
		s.flush()
	}
}

// walkTime goes through the rows of a time. It returns false when the page is complete.
func (s *finder) walkTime() (more bool) {
	down := s.want.Sort.down()
	from, to := s.timeRange()
	if s.after != nil {
		from, to = part(from, to, s.timeSpot(s.after.Created.UnixMicro(), s.after.UID), down)
	}
	more = true
	s.byTime.walk(from, to, down, s.want.mayHave, func(item item) bool {
		more = s.add(s.row(item.handle()), func(*row, *row) bool { return false })
		return more
	})
	return more && s.flush()
}

// walkSame goes through the rows that a list has at one place, with r among them, where these are
// too many to be read for each page: the tree by time has them in order. The page ends with them.
func (s *finder) walkSame(r *row) {
	place := s.key(r)
	if s.after != nil && (s.after.Rank != place.Rank || !s.after.Created.Equal(place.Created)) {
		s.after = nil
	}
	s.want.from, s.want.to = max(s.want.from, r.created), min(s.want.to, r.created)
	switch {
	case s.want.Sort.byUpdate():
		s.want.updatedMin, s.want.updatedMax = max(s.want.updatedMin, r.updated), min(s.want.updatedMax, r.updated)
	case s.want.Sort.Ranked():
		s.want.amountMin, s.want.amountMax = max(s.want.amountMin, r.amount), min(s.want.amountMax, r.amount)
	}
	s.run, s.last, s.cost = s.run[:0], nil, 0
	s.place = place
	if s.want.from > s.want.to || s.walkTime() {
		s.page.Next = place
		s.page.Next.passSame(s.want.Sort)
	}
}

// part is what is left of a range behind a place, in the direction of a walk.
func part(from, to, behind spot, down bool) (spot, spot) {
	if down {
		return from, behind
	}
	return behind, to
}

// add takes the next row of a walk. same tells whether the list may have two rows in
// another order than the walk. It returns false when the page is complete.
func (s *finder) add(r *row, same func(a, b *row) bool) bool {
	if s.last != nil && !same(s.last, r) {
		if !s.flush() {
			return false
		}
		if s.cost >= s.x.most {
			s.page.Next = s.key(s.last)
			switch {
			case s.place != nil:
				s.page.Next.Rank = s.place.Rank // the row's own may differ
			case same(s.last, s.last):
				s.page.Next.passSame(s.want.Sort)
			}
			return false
		}
	}
	s.cost, s.last = s.cost+1, r
	if s.want.may(r) {
		s.run = append(s.run, r)
	}
	switch {
	case !same(r, r), len(s.run) <= s.x.same && s.cost < s.x.most:
		return true
	case s.want.Sort.Ranked() && s.rankOf(r) >= math.MaxUint32: // of such amounts, the time says nothing
		return len(s.run) <= 2*maxSorted || s.flush()
	}
	s.walkSame(r)
	return false
}

const (
	firstUID = "" // no order_uid is before it
	lastUID  = "\U0010FFFF"
)

// passSame makes a key that of all orders for which same is true.
func (k *Key) passSame(sort Sort) {
	switch {
	case !sort.down():
		k.UID = lastUID
	case sort.Ranked() && k.Rank >= math.MaxUint32:
		*k = Key{Rank: math.MaxUint32} // the others are smaller
	default:
		k.UID = firstUID
	}
}

// edge is where a walk begins among the rows for which same is true: any of them may be after
// the key, or none if passSame made it.
func (k *Key) edge(down bool) handle {
	if k.UID == lastUID || down && k.UID != firstUID {
		return math.MaxUint32
	}
	return 0
}

// flush puts the orders of the run that match on the page. It returns false when that is
// complete.
func (s *finder) flush() bool {
	if len(s.run) > 2*maxSorted {
		s.lost = true // there are too many, whose amounts are only in their records
		return false
	}
	sign := 1
	if s.want.Sort.down() {
		sign = -1
	}
	run := s.ranks[:0]
	for _, r := range s.run {
		if p := s.rank(r); s.after == nil || !s.passes(p, s.after, sign) {
			run = append(run, p)
		}
	}
	s.run, s.ranks = s.run[:0], run[:0]
	s.sort(run, sign)
	for i, p := range run {
		r := p.row
		uid, body, matches := s.match(r)
		switch {
		case !matches:
		case len(s.page.UIDs) == s.limit:
			s.page.Next = s.key(s.end)
			return false
		default:
			s.page.UIDs, s.page.Orders, s.end = append(s.page.UIDs, uid), append(s.page.Orders, body), r
		}
		if s.cost >= s.x.most && i < len(run)-1 {
			s.page.Next = s.key(r)
			return false
		}
	}
	return !s.lost
}
