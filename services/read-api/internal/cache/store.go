package cache

import (
	"hash/maphash"
	"sync"
)

// StoreOptions say how much a store holds, and how.
type StoreOptions struct {
	// Bytes is the most memory that records and index take; 0 means no limit.
	// With a limit the store keeps the records that arrived last and fit.
	Bytes int64
	// Compress stores bodies compressed with zstd.
	Compress bool
}

// MinRecordBytes is the least that an order takes of StoreOptions.Bytes: the
// field names of its JSON alone are longer.
func MinRecordBytes(options StoreOptions) int64 {
	if options.Compress {
		return 100
	}
	return 250
}

const (
	maxShards     = 64
	minShardBytes = 256 << 10 // of budget, or records of ordinary size would not fit
	// indexBytes is what an order costs in the index: a slot of 17 bytes in a
	// map that is between 7/16 and 7/8 full.
	indexBytes = 30
)

// Store holds records by order_uid outside of the garbage collector's sight:
// their bytes lie in chunks, which hold no pointers, and an index of plain
// numbers finds them. A record's bytes never change once they are written, so
// readers use them in place, for as long as they like, without a lock; a lock
// is held only for the look-up. Methods are safe for concurrent use.
type Store struct {
	shards  []shard
	mask    uint64
	hash    func(uid string) uint64
	codec   *codec // nil: bodies are stored as they are
	partial bool   // orders were left out
}

// NewStore returns an empty store.
func NewStore(options StoreOptions) *Store {
	seed := maphash.MakeSeed()
	return newStore(options, func(uid string) uint64 { return maphash.String(seed, uid) })
}

func newStore(options StoreOptions, hash func(string) uint64) *Store {
	shards := maxShards
	for options.Bytes > 0 && shards > 1 && options.Bytes/int64(shards) < minShardBytes {
		shards /= 2
	}
	s := &Store{shards: make([]shard, shards), mask: uint64(shards - 1), hash: hash}
	if options.Compress {
		s.codec = newCodec()
	}
	for i := range s.shards {
		s.shards[i] = newShard(options.Bytes / int64(shards))
	}
	return s
}

// Get returns the record of an order.
func (s *Store) Get(uid string) (Record, bool) {
	h := s.hash(uid)
	sh := &s.shards[h&s.mask]
	sh.mu.RLock()
	_, raw, ok := sh.find(h, uid)
	sh.mu.RUnlock()
	if !ok {
		return Record{}, false
	}
	return Record{raw: raw, codec: s.codec}, true
}

// Put stores an order's canonical JSON, in place of what the store had of it.
// It reports whether anything changed: the same bytes again are no change. The
// bytes are copied.
func (s *Store) Put(uid string, canonical []byte) (changed bool) {
	h := s.hash(uid)
	sh := &s.shards[h&s.mask]
	tag := newTag(canonical)
	if s.codec != nil {
		buffer := s.codec.compress(canonical)
		defer s.codec.release(buffer)
		return sh.put(s.hash, h, uid, tag, *buffer, len(canonical))
	}
	return sh.put(s.hash, h, uid, tag, canonical, len(canonical))
}

// Delete removes an order, and reports whether it was there.
func (s *Store) Delete(uid string) (changed bool) {
	h := s.hash(uid)
	sh := &s.shards[h&s.mask]
	return sh.delete(s.hash, h, uid)
}

// LeaveOut says that orders are left out because they would not fit. It is
// called before the store has readers.
func (s *Store) LeaveOut() { s.partial = true }

// StoreStats are a store's figures at one moment.
type StoreStats struct {
	Orders  int64 // records held
	Bytes   int64 // memory of records and index, what is free in it included
	Evicted int64 // records that did not fit the budget
}

// Stats sums up the shards, one after another.
func (s *Store) Stats() StoreStats {
	var sum StoreStats
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		sum.Orders += sh.orders()
		sum.Bytes += sh.bytes()
		sum.Evicted += sh.evicted
		sh.mu.RUnlock()
	}
	return sum
}

// Complete tells whether an order that Get doesn't find was never put, or was
// deleted: false where it may be missing for want of room.
func (s *Store) Complete(uid string) bool {
	sh := &s.shards[s.hash(uid)&s.mask]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.evicted == 0 && !s.partial
}

// location says where a record starts: the chunk's slot in the high half, the
// offset in the low one.
type location uint64

func locate(slot int32, offset int) location {
	return location(uint64(uint32(slot))<<32 | uint64(uint32(offset)))
}

func (l location) slot() int32 { return int32(l >> 32) }
func (l location) offset() int { return int(uint32(l)) }

// shard is an independent part of the store with a lock of its own. Writers
// hold it for the time of a memory copy of at most maxChunk bytes.
type shard struct {
	mu    sync.RWMutex
	index map[uint64]location
	// collided holds the records whose hash is that of another record that came
	// before. It is nearly always nil.
	collided map[string]location
	log      chunkLog
	budget   int64 // bytes; 0: no limit
	evicted  int64
	_        [64]byte // keeps the locks of neighbours out of one cache line
}

func newShard(budget int64) shard {
	return shard{index: map[uint64]location{}, log: newChunkLog(), budget: budget}
}

func (sh *shard) orders() int64 { return int64(len(sh.index) + len(sh.collided)) }

func (sh *shard) bytes() int64 { return sh.log.size + sh.orders()*indexBytes }

// find returns a record and where it is.
func (sh *shard) find(h uint64, uid string) (location, rawRecord, bool) {
	if at, ok := sh.index[h]; ok {
		if raw := sh.log.at(at); raw.hasUID(uid) {
			return at, raw, true
		}
	}
	if sh.collided != nil {
		if at, ok := sh.collided[uid]; ok {
			return at, sh.log.at(at), true
		}
	}
	return 0, nil, false
}

// point makes the index point to a record, which it may know already.
func (sh *shard) point(h uint64, uid string, at location) {
	if old, taken := sh.index[h]; !taken || sh.log.at(old).hasUID(uid) {
		if _, ok := sh.collided[uid]; !ok {
			sh.index[h] = at
			return
		}
	}
	if sh.collided == nil {
		sh.collided = map[string]location{}
	}
	sh.collided[string([]byte(uid))] = at
}

// forget removes a record that find found at a location.
func (sh *shard) forget(h uint64, uid string, at location) {
	sh.unpoint(h, uid, at)
	sh.log.release(at)
}

func (sh *shard) unpoint(h uint64, uid string, at location) {
	if known, ok := sh.index[h]; ok && known == at {
		delete(sh.index, h)
	} else {
		delete(sh.collided, uid)
	}
}

func (sh *shard) put(hash func(string) uint64, h uint64, uid string, tag tag, body []byte, size int) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old, raw, exists := sh.find(h, uid)
	if exists && raw.tag() == tag {
		return false
	}
	need := recordSize(uid, len(body), size)
	if sh.budget > 0 && int64(need)+indexBytes > sh.budget {
		if exists {
			sh.forget(h, uid, old)
		}
		sh.evicted++
		return true
	}
	at := sh.log.append(need, sh.chunkSize(), func(dst []byte) {
		writeRecord(dst, uid, tag, body, size)
	})
	sh.point(h, uid, at)
	if exists {
		sh.log.release(old)
	}
	sh.tidy(hash)
	return true
}

func (sh *shard) delete(hash func(string) uint64, h uint64, uid string) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, _, ok := sh.find(h, uid)
	if !ok {
		return false
	}
	sh.forget(h, uid, at)
	sh.tidy(hash)
	return true
}

// chunkSize grows with the shard, so that small stores stay small and the room
// at the end of the newest chunk is a small share of large ones.
func (sh *shard) chunkSize() int {
	size := min(max(sh.log.live/16, minChunk), maxChunk)
	if sh.budget > 0 {
		size = min(size, sh.budget/8)
	}
	return int(size)
}

// tidy keeps the shard within its budget and its share of dead bytes bounded.
// Each call does a bounded step: a mutation makes far fewer bytes dead than a
// step can reclaim.
func (sh *shard) tidy(hash func(string) uint64) {
	if sh.log.size-sh.log.live > sh.log.size/10+maxChunk/4 {
		sh.log.compact(
			func(raw rawRecord, at location) bool { return sh.isLive(hash, raw, at) },
			func(raw rawRecord, at location) { sh.point(hash(raw.uid()), raw.uid(), at) })
	}
	for sh.budget > 0 && sh.bytes() > sh.budget && sh.log.oldest != none {
		sh.evictOldest(hash)
	}
}

func (sh *shard) isLive(hash func(string) uint64, raw rawRecord, at location) bool {
	if known, ok := sh.index[hash(raw.uid())]; ok && known == at {
		return true
	}
	known, ok := sh.collided[raw.uid()]
	return ok && known == at
}

// evictOldest drops the chunk whose records arrived first.
func (sh *shard) evictOldest(hash func(string) uint64) {
	slot := sh.log.oldest
	var live []location
	sh.log.each(slot, func(raw rawRecord, at location) {
		if sh.isLive(hash, raw, at) {
			live = append(live, at)
		}
	})
	for _, at := range live {
		uid := sh.log.at(at).uid()
		sh.unpoint(hash(uid), uid, at)
		sh.evicted++
	}
	sh.log.drop(slot)
}
