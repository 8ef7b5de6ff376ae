package cache

// location says where a record lies: the chunk's slot above the offset in the chunk.
type location uint32

const (
	offsetBits = 17 // a record that starts further back has a chunk to itself
	maxSlots   = 1 << (32 - offsetBits)
)

func locate(slot int32, offset int) location { return location(slot)<<offsetBits | location(offset) }

func (l location) slot() int32 { return int32(l >> offsetBits) }
func (l location) offset() int { return int(l & (1<<offsetBits - 1)) }

// fingerprint is the part of a hash that the index keeps.
type fingerprint uint32

func fingerprintOf(hash uint64) fingerprint { return fingerprint(hash >> 32) }

// entryBytes is the most that an entry takes of a Go map of 32-bit numbers: a slot of
// 8 bytes and one of control, in tables that are at least 7/16 full.
const entryBytes = 21

// index finds records. It isn't safe for concurrent use.
//
// Its numbers are as small as they are because the memory per order has a goal: a
// map[uint64]uint64 takes twice as much.
type index struct {
	records map[fingerprint]location
	// others are the records, by order_uid, whose fingerprint another one had already
	// when they came: a few in a million.
	others map[string]location
	peak   int // the most records so far: a map doesn't shrink
}

func newIndex() index {
	return index{records: map[fingerprint]location{}, others: map[string]location{}}
}

func (x *index) entries() int { return len(x.records) + len(x.others) }

func (x *index) bytes() int64 { return int64(x.peak) * entryBytes }

// insert adds a record that the index doesn't have.
func (x *index) insert(fp fingerprint, uid string, at location) {
	if _, taken := x.records[fp]; taken {
		x.others[string([]byte(uid))] = at // uid may lie in memory that is used again
	} else {
		x.records[fp] = at
	}
	x.peak = max(x.peak, x.entries())
}

// holds tells whether the record with a fingerprint is the one at a location.
func (x *index) holds(fp fingerprint, at location) bool {
	known, ok := x.records[fp]
	return ok && known == at
}

// move says that a record has another location now.
func (x *index) move(fp fingerprint, uid string, from, to location) {
	if x.holds(fp, from) {
		x.records[fp] = to
	} else {
		x.others[string([]byte(uid))] = to
	}
}

// remove forgets a record that the index has.
func (x *index) remove(fp fingerprint, uid string, at location) {
	if x.holds(fp, at) {
		delete(x.records, fp)
	} else {
		delete(x.others, uid)
	}
}

// has tells whether a record's location is the one that the index knows.
func (x *index) has(fp fingerprint, uid string, at location) bool {
	if x.holds(fp, at) {
		return true
	}
	known, ok := x.others[uid]
	return ok && known == at
}
