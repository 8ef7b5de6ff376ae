package cache

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
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
// field names of its JSON alone are longer, or its tag and uid.
func MinRecordBytes(options StoreOptions) int64 {
	if options.Compress {
		return 60
	}
	return 250
}

const (
	maxShards     = 48
	minShardBytes = 256 << 10 // of budget, or records of ordinary size would not fit
)

// Store holds records by order_uid outside of the garbage collector's sight:
// their bytes lie in chunks, which hold no pointers, and an index of plain
// numbers finds them. A record's bytes never change once they are written, so
// readers use them in place, for as long as they like, without a lock; a lock
// is held only for the look-up. Methods are safe for concurrent use.
type Store struct {
	shards  []shard
	seed    uint64 // of hash
	hash    func(uid string) uint64
	codec   *codec       // nil: bodies are stored as they are
	partial atomic.Bool  // orders were left out, or it is not known
	dropped atomic.Int64 // bytes of chunks that were given back, until a relist asks
}

// NewStore returns an empty store.
func NewStore(options StoreOptions) *Store { return newSeededStore(options, rand.Uint64()) }

// newSeededStore returns a store that finds orders by the same hashes as another one.
func newSeededStore(options StoreOptions, seed uint64) *Store {
	s := newStore(options, func(uid string) uint64 {
		var d xxhash.Digest
		d.ResetWithSeed(seed)
		_, _ = d.WriteString(uid) // never fails
		return d.Sum64()
	})
	s.seed = seed
	return s
}

func newStore(options StoreOptions, hash func(string) uint64) *Store {
	shards := maxShards
	for options.Bytes > 0 && shards > 1 && options.Bytes/int64(shards) < minShardBytes {
		shards /= 2
	}
	s := &Store{shards: make([]shard, shards), hash: hash}
	if options.Compress {
		s.codec = &codec{}
	}
	for i := range s.shards {
		s.shards[i] = newShard(options.Bytes/int64(shards), hash, &s.dropped)
	}
	return s
}

func (s *Store) shard(hash uint64) *shard { return &s.shards[hash%uint64(len(s.shards))] }

// Get returns the record of an order.
func (s *Store) Get(uid string) (Record, bool) {
	h := s.hash(uid)
	sh := s.shard(h)
	sh.mu.RLock()
	_, raw, ok := sh.find(fingerprintOf(h), uid)
	sh.mu.RUnlock()
	if !ok {
		sh.misses.Add(1)
		return Record{}, false
	}
	sh.hits.Add(1)
	return s.record(raw), true
}

func (s *Store) record(raw rawRecord) Record {
	record := Record{raw: raw}
	if s.codec != nil {
		record.dictionary = s.codec.dictionary.Load()
	}
	return record
}

// find returns the record of an order_uid with a hash.
func (s *Store) find(hash uint64) (Record, bool) {
	sh := s.shard(hash)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if at, ok := sh.index.records[fingerprintOf(hash)]; ok {
		if raw := sh.log.at(at); s.hash(raw.uid()) == hash {
			return s.record(raw), true
		}
	}
	for uid, at := range sh.index.others {
		if s.hash(uid) == hash {
			return s.record(sh.log.at(at)), true
		}
	}
	return Record{}, false
}

// each gives use all records until it returns false.
func (s *Store) each(use func(Record) bool) {
	var records []Record
	for i := range s.shards {
		sh := &s.shards[i]
		records = records[:0]
		sh.mu.RLock()
		for _, at := range sh.index.records {
			records = append(records, s.record(sh.log.at(at)))
		}
		for _, at := range sh.index.others {
			records = append(records, s.record(sh.log.at(at)))
		}
		sh.mu.RUnlock()
		for _, record := range records {
			if !use(record) {
				return
			}
		}
	}
}

// Put stores an order's canonical JSON and when it was updated, in place of what the store
// had of it. It reports whether anything changed. The bytes are copied.
func (s *Store) Put(uid string, canonical []byte, updated uint32) (changed bool) {
	if s.codec == nil {
		return s.putPlain(uid, canonical, updated)
	}
	if dictionary := s.codec.dictionary.Load(); dictionary != nil {
		return s.putCompressed(dictionary, uid, canonical, updated)
	}
	changed = s.putPlain(uid, canonical, updated)
	for _, early := range s.codec.learn(uid, canonical) {
		s.compressAgain(early.uid)
	}
	return changed
}

func (s *Store) putPlain(uid string, canonical []byte, updated uint32) bool {
	h := s.hash(uid)
	n := newRecord{uid: uid, tag: newTag(canonical), updated: updated, stored: canonical, size: len(canonical)}
	return s.shard(h).put(fingerprintOf(h), &n)
}

func (s *Store) putCompressed(d *dictionary, uid string, canonical []byte, updated uint32) bool {
	h := s.hash(uid)
	sh := s.shard(h)
	n := newRecord{uid: uid, tag: newTag(canonical), updated: updated, size: len(canonical)}
	if sh.has(fingerprintOf(h), &n) {
		return false
	}
	scratch := scratches.Get().(*scratch)
	defer scratches.Put(scratch)
	n.form, n.stored = d.compress(scratch, uid, canonical)
	return sh.put(fingerprintOf(h), &n)
}

// compressAgain makes an order that was stored as it is smaller, if it is still
// there and the same.
func (s *Store) compressAgain(uid string) {
	h := s.hash(uid)
	sh := s.shard(h)
	fp := fingerprintOf(h)
	sh.mu.RLock()
	_, raw, ok := sh.find(fp, uid)
	sh.mu.RUnlock()
	if !ok || raw.head().form != plain {
		return
	}
	body := raw.stored(raw.head())
	scratch := scratches.Get().(*scratch)
	defer scratches.Put(scratch)
	n := newRecord{uid: uid, tag: raw.tag(), updated: raw.updated(), size: len(body)}
	n.form, n.stored = s.codec.dictionary.Load().compress(scratch, uid, body)
	sh.shrink(fp, &n)
}

// Delete removes an order, and reports whether it was there.
func (s *Store) Delete(uid string) (changed bool) {
	h := s.hash(uid)
	return s.shard(h).delete(fingerprintOf(h), uid)
}

// Sample returns the uids of about n orders, from anywhere in the store.
func (s *Store) Sample(n int) []string {
	each := (n + len(s.shards) - 1) / len(s.shards)
	var uids []string
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		left := each
		for _, at := range sh.index.records { // Go begins anywhere in a map
			if left--; left < 0 {
				break
			}
			uids = append(uids, strings.Clone(sh.log.at(at).uid()))
		}
		sh.mu.RUnlock()
	}
	return uids
}

// LeaveOut says that orders are left out because they would not fit.
func (s *Store) LeaveOut() { s.partial.Store(true) }

// Same tells whether Put would change nothing. To a relist this is Put.
func (s *Store) Same(uid string, canonical []byte, updated uint32) bool {
	h := s.hash(uid)
	return s.shard(h).has(fingerprintOf(h), &newRecord{uid: uid, tag: newTag(canonical), updated: updated})
}

// Relist begins to compare the store with a snapshot of all orders, again if it had begun.
// Until the Sweep the store does not vouch for any order that it lacks.
func (s *Store) Relist() {
	s.partial.Store(true)
	for i := range s.shards {
		s.shards[i].relisting(true)
	}
}

// Sweep ends a relist: gone, which has to delete them, gets the orders that were not
// put since Relist. partial says that the snapshot left orders out.
func (s *Store) Sweep(partial bool, gone func(uid string)) {
	for i := range s.shards {
		for _, uid := range s.shards[i].unmarked() {
			gone(uid)
		}
		s.shards[i].relisting(false)
	}
	s.partial.Store(partial)
}

// StoreStats are a store's figures at one moment.
type StoreStats struct {
	Orders     int64 // records held
	Bytes      int64 // memory of records and index, what is free in it included
	JSONBytes  int64 // the size of the records' bodies as they are given out
	IndexBytes int64 // of Bytes
	Evicted    int64 // records that did not fit the budget
	Hits       int64 // look-ups that found a record
	Misses     int64 // look-ups that did not
	// DictionaryBytes is the size of the dictionary that bodies are compressed
	// with; 0: there is none, or none yet.
	DictionaryBytes int64
}

// Stats sums up the shards, one after another.
func (s *Store) Stats() StoreStats {
	var sum StoreStats
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		sum.Orders += int64(sh.index.entries())
		sum.Bytes += sh.bytes()
		sum.JSONBytes += sh.content
		sum.IndexBytes += sh.index.bytes()
		sum.Evicted += sh.evicted
		sh.mu.RUnlock()
		sum.Hits += sh.hits.Load()
		sum.Misses += sh.misses.Load()
	}
	if s.codec != nil {
		if d := s.codec.dictionary.Load(); d != nil {
			sum.DictionaryBytes = int64(len(d.text))
		}
	}
	return sum
}

// Complete tells whether an order that Get doesn't find was never put, or was
// deleted: false where it may be missing for want of room.
func (s *Store) Complete(uid string) bool {
	sh := s.shard(s.hash(uid))
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.evicted == 0 && !s.partial.Load()
}
