package cache

// location says where a record lies: the chunk's slot, counted from 1, above the
// offset in the chunk. 0 is nowhere.
type location uint64

const (
	offsetBits   = 17 // a record that starts further back has a chunk to itself
	locationBits = 40
	locationMask = 1<<locationBits - 1
)

func locate(slot int32, offset int) location {
	return location(uint64(slot+1)<<offsetBits | uint64(offset))
}

func (l location) slot() int32 { return int32(l>>offsetBits) - 1 }
func (l location) offset() int { return int(l & (1<<offsetBits - 1)) }

// fingerprint is the part of a hash that the index keeps: its low bits are where
// an entry would like to be in its segment, its high bits choose the segment.
type fingerprint uint32

const (
	fingerprintBits = 64 - locationBits
	segmentBits     = 10
	segmentSlots    = 1 << segmentBits
	slotMask        = segmentSlots - 1
	maxDepth        = fingerprintBits - segmentBits
	// maxUsed is how full a segment gets: beyond it probing becomes long.
	maxUsed = segmentSlots * 13 / 16
	// segmentBytes is what a segment takes of memory.
	segmentBytes = segmentSlots*8 + 32
)

func fingerprintOf(hash uint64) fingerprint { return fingerprint(hash >> locationBits) }

// entry is a record's fingerprint above its location; 0: the slot is free.
type entry uint64

func newEntry(fp fingerprint, at location) entry { return entry(fp)<<locationBits | entry(at) }

func (e entry) fingerprint() fingerprint { return fingerprint(e >> locationBits) }
func (e entry) location() location       { return location(e & locationMask) }

// segment is a small table with linear probing, never full.
type segment struct {
	slots *[segmentSlots]entry
	used  int
	depth uint8 // how many high bits its fingerprints have in common
}

// index finds records by fingerprint. Several records may have one fingerprint: the
// caller compares the records. It grows by a segment at a time (extendible hashing),
// so that no change takes longer than splitting one. It isn't safe for concurrent use.
//
// Go's map would do, but takes too much memory. Measured with Go 1.26 for 500,000 to
// 3,000,000 records, a map[uint64]uint64 takes 24 to 38 bytes a record, and this 11 to
// 17. Compressed orders are right at their goal of 0.35 × JSON, some 300 bytes an
// order; 21 bytes more would miss it.
type index struct {
	directory []*segment // by the depth high bits of the fingerprint
	depth     uint8
	entries   int
	segments  int
	// overflow holds, by order_uid, the records that a segment had no room for and
	// that no split would part from their neighbours. It is nearly always nil.
	overflow map[string]location
}

func newIndex() index {
	return index{directory: []*segment{newSegment(0)}, segments: 1}
}

func newSegment(depth uint8) *segment {
	return &segment{slots: new([segmentSlots]entry), depth: depth}
}

func (x *index) bytes() int64 { return int64(x.segments)*segmentBytes + int64(len(x.directory))*8 }

func (x *index) segment(fp fingerprint) *segment {
	return x.directory[fp>>(fingerprintBits-x.depth)]
}

// insert adds a record that the index doesn't have.
func (x *index) insert(fp fingerprint, uid string, at location) {
	x.entries++
	s := x.segment(fp)
	for s.used >= maxUsed {
		if s.depth == maxDepth {
			if x.overflow == nil {
				x.overflow = map[string]location{}
			}
			x.overflow[string([]byte(uid))] = at
			return
		}
		x.split(s, fp)
		s = x.segment(fp)
	}
	s.add(newEntry(fp, at))
}

// move says that a record has another location now.
func (x *index) move(fp fingerprint, uid string, from, to location) {
	s := x.segment(fp)
	if i, ok := s.search(newEntry(fp, from)); ok {
		s.slots[i] = newEntry(fp, to)
		return
	}
	x.overflow[string([]byte(uid))] = to
}

// remove forgets a record that the index has.
func (x *index) remove(fp fingerprint, uid string, at location) {
	x.entries--
	s := x.segment(fp)
	if i, ok := s.search(newEntry(fp, at)); ok {
		s.removeAt(i)
		return
	}
	delete(x.overflow, uid)
}

// has tells whether a record's location is the one that the index knows.
func (x *index) has(fp fingerprint, uid string, at location) bool {
	if _, ok := x.segment(fp).search(newEntry(fp, at)); ok {
		return true
	}
	known, ok := x.overflow[uid]
	return ok && known == at
}

// split parts the entries of a segment by one more bit.
func (x *index) split(s *segment, fp fingerprint) {
	if s.depth == x.depth {
		doubled := make([]*segment, 0, 2*len(x.directory))
		for _, one := range x.directory {
			doubled = append(doubled, one, one)
		}
		x.directory, x.depth = doubled, x.depth+1
	}
	low, high := newSegment(s.depth+1), newSegment(s.depth+1)
	bit := fingerprint(1) << (fingerprintBits - 1 - s.depth)
	for _, e := range s.slots {
		switch {
		case e == 0:
		case e.fingerprint()&bit == 0:
			low.add(e)
		default:
			high.add(e)
		}
	}
	// The directory's places that point to s are neighbours.
	places := 1 << (x.depth - s.depth)
	first := int(fp>>(fingerprintBits-x.depth)) &^ (places - 1)
	for i := range places {
		if i < places/2 {
			x.directory[first+i] = low
		} else {
			x.directory[first+i] = high
		}
	}
	x.segments++
}

func (s *segment) add(e entry) {
	i := e.fingerprint() & slotMask
	for s.slots[i] != 0 {
		i = (i + 1) & slotMask
	}
	s.slots[i] = e
	s.used++
}

func (s *segment) search(e entry) (fingerprint, bool) {
	for i := e.fingerprint() & slotMask; s.slots[i] != 0; i = (i + 1) & slotMask {
		if s.slots[i] == e {
			return i, true
		}
	}
	return 0, false
}

// removeAt frees a slot and closes the gap: an entry that was pushed past it
// moves back into it, so that probing may stop at a free slot.
func (s *segment) removeAt(gap fingerprint) {
	for i := (gap + 1) & slotMask; s.slots[i] != 0; i = (i + 1) & slotMask {
		home := s.slots[i].fingerprint() & slotMask
		if (i-home)&slotMask >= (i-gap)&slotMask {
			s.slots[gap] = s.slots[i]
			gap = i
		}
	}
	s.slots[gap] = 0
	s.used--
}
