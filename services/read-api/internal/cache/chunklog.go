package cache

import "sync/atomic"

const (
	minChunk = 4 << 10
	// maxChunk bounds the time for which compaction holds a shard's lock. A
	// record that is larger has a chunk to itself.
	maxChunk = 1 << offsetBits
	// pageSize is what the runtime rounds large allocations up to.
	pageSize = 8 << 10

	none int32 = -1
)

// chunk is a piece of memory that is filled once, from front to end, and given
// back whole. A reader that still uses a record keeps the chunk's bytes alive.
type chunk struct {
	data         []byte // nil: the slot is free
	used         int    // data[:used] holds records
	live         int    // bytes of those that the index points to
	older, newer int32  // neighbours in order of arrival
	// marks has a bit for each markStep bytes of data: whether a relist has found the
	// record that begins there. nil: none.
	marks []uint64
}

// markStep is less than any record takes, so that no two records share a bit.
const markStep = 16

// chunkLog is the chunks of a shard in order of arrival: records of an older
// chunk arrived before those of a newer one. It isn't safe for concurrent use.
type chunkLog struct {
	chunks         []chunk // by slot
	free           []int32 // slots without data
	oldest, newest int32
	size           int64         // bytes of all chunks
	used, live     int64         // bytes of the records in them, and of those that are live
	dropped        *atomic.Int64 // has the bytes of chunks that were given back added
}

func newChunkLog(dropped *atomic.Int64) chunkLog {
	return chunkLog{oldest: none, newest: none, dropped: dropped}
}

// at returns the record at a location.
func (l *chunkLog) at(at location) rawRecord {
	return rawRecord(l.chunks[at.slot()].data[at.offset():])
}

// append makes room for a record of n bytes in the newest chunk, or in a new
// one of at least chunkSize bytes, and has it written.
func (l *chunkLog) append(n, chunkSize int, write func(dst []byte)) location {
	slot := l.newest
	if slot == none || l.room(slot) < n {
		slot = l.insertBefore(none, make([]byte, wholeSize(max(n, chunkSize))))
	}
	return l.fill(slot, n, write)
}

// room is how many bytes a further record of a chunk may have. What a chunk of
// more than maxChunk bytes has left is out of a location's reach.
func (l *chunkLog) room(slot int32) int {
	c := &l.chunks[slot]
	if c.used >= maxChunk {
		return 0
	}
	return len(c.data) - c.used
}

func (l *chunkLog) fill(slot int32, n int, write func(dst []byte)) location {
	c := &l.chunks[slot]
	at := locate(slot, c.used)
	write(c.data[c.used : c.used+n])
	c.used += n
	c.live += n
	l.used += int64(n)
	l.live += int64(n)
	return at
}

// release says that nothing points to a record any more. A chunk without live
// records is given back, unless it is the one being filled.
func (l *chunkLog) release(at location) {
	n := l.at(at).len()
	c := &l.chunks[at.slot()]
	c.live -= n
	l.live -= int64(n)
	if c.live == 0 && at.slot() != l.newest {
		l.drop(at.slot())
	}
}

// mark marks the record at a location.
func (l *chunkLog) mark(at location) {
	c := &l.chunks[at.slot()]
	if c.marks == nil {
		c.marks = make([]uint64, min(len(c.data), maxChunk)/markStep/64+1)
	}
	bit := at.offset() / markStep
	c.marks[bit/64] |= 1 << (bit % 64)
}

func (l *chunkLog) marked(at location) bool {
	marks, bit := l.chunks[at.slot()].marks, at.offset()/markStep
	return marks != nil && marks[bit/64]&(1<<(bit%64)) != 0
}

// full tells whether there are as many chunks as locations can tell apart: some 4 GiB.
func (l *chunkLog) full() bool { return len(l.free) == 0 && len(l.chunks) >= maxSlots }

// dead is how many bytes compaction could give back.
func (l *chunkLog) dead() int64 { return l.used - l.live }

// each visits a chunk's records, live or not, until visit returns false.
func (l *chunkLog) each(slot int32, visit func(raw rawRecord, at location) bool) {
	c := l.chunks[slot]
	for offset := 0; offset < c.used; {
		raw := rawRecord(c.data[offset:c.used])
		if !visit(raw, locate(slot, offset)) {
			return
		}
		offset += raw.len()
	}
}

// compact copies the live records of the chunk with the most dead bytes, and of
// newer neighbours that fit beside them, into one chunk in their place, so the
// order of arrival stays. The runtime rounds the new chunk's size up; what that
// leaves is filled with the next neighbour's first records. moved is told where
// each record was and is.
func (l *chunkLog) compact(isLive func(rawRecord, location) bool, moved func(raw rawRecord, from, to location)) {
	victim, most := none, 0
	for slot := l.oldest; slot != none; slot = l.chunks[slot].newer {
		c := &l.chunks[slot]
		if dead := c.used - c.live; slot != l.newest && dead > most {
			victim, most = slot, dead
		}
	}
	if victim == none {
		return
	}
	run, total := []int32{victim}, l.chunks[victim].live
	next := l.chunks[victim].newer
	for ; next != l.newest; next = l.chunks[next].newer {
		if total+l.chunks[next].live > maxChunk {
			break
		}
		total += l.chunks[next].live
		run = append(run, next)
	}
	if total == 0 {
		for _, slot := range run {
			l.drop(slot)
		}
		return
	}
	target := l.insertBefore(victim, make([]byte, wholeSize(total)))
	copyTo := func(raw rawRecord, from location) {
		n := raw.len()
		to := l.fill(target, n, func(dst []byte) { copy(dst, raw[:n]) })
		if l.marked(from) {
			l.mark(to)
		}
		moved(raw, from, to)
	}
	for _, slot := range run {
		l.each(slot, func(raw rawRecord, at location) bool {
			if isLive(raw, at) {
				copyTo(raw, at)
			}
			return true
		})
		l.drop(slot)
	}
	if next == l.newest {
		return
	}
	l.each(next, func(raw rawRecord, at location) bool {
		if !isLive(raw, at) {
			return true
		}
		if raw.len() > l.room(target) {
			return false
		}
		copyTo(raw, at)
		l.chunks[next].live -= raw.len()
		l.live -= int64(raw.len())
		return true
	})
	if l.chunks[next].live == 0 {
		l.drop(next)
	}
}

// wholeSize is the size that the runtime would give to a chunk of at least n
// bytes anyway.
func wholeSize(n int) int {
	size := minChunk
	for size < n && size < 4*pageSize {
		size *= 2
	}
	if size < n {
		size = (n + pageSize - 1) / pageSize * pageSize
	}
	return size
}

// insertBefore links a new chunk on the older side of another, or as the newest.
func (l *chunkLog) insertBefore(neighbour int32, data []byte) int32 {
	c := chunk{data: data}
	older := l.newest
	if neighbour != none {
		older = l.chunks[neighbour].older
	}
	var slot int32
	if n := len(l.free); n > 0 {
		slot, l.free = l.free[n-1], l.free[:n-1]
		l.chunks[slot] = c
	} else {
		slot = int32(len(l.chunks))
		l.chunks = append(l.chunks, c)
	}
	l.join(older, slot)
	l.join(slot, neighbour)
	l.size += int64(len(c.data))
	return slot
}

// join makes two chunks neighbours; none stands for an end.
func (l *chunkLog) join(older, newer int32) {
	if older == none {
		l.oldest = newer
	} else {
		l.chunks[older].newer = newer
	}
	if newer == none {
		l.newest = older
	} else {
		l.chunks[newer].older = older
	}
}

// drop gives a chunk back.
func (l *chunkLog) drop(slot int32) {
	c := l.chunks[slot]
	l.dropped.Add(int64(len(c.data)))
	l.join(c.older, c.newer)
	l.size -= int64(len(c.data))
	l.used -= int64(c.used)
	l.live -= int64(c.live)
	l.chunks[slot] = chunk{}
	l.free = append(l.free, slot)
}
