package cache

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
)

// shard is an independent part of the store with a lock of its own. Writers hold it
// for about as long as it takes to copy maxChunk bytes.
type shard struct {
	mu      sync.RWMutex
	index   index
	log     chunkLog
	hash    func(uid string) uint64
	budget  int64 // bytes; 0: no limit
	content int64 // bytes of the bodies, as they are given out
	evicted int64
	relist  bool // one is under way, which marks the records that it finds
	saving  bool // the records are being saved: none may move to another chunk

	hits, misses atomic.Int64
	_            [64]byte // keeps the locks of neighbours out of one cache line
}

func newShard(budget int64, hash func(uid string) uint64, dropped *atomic.Int64) shard {
	return shard{index: newIndex(), log: newChunkLog(dropped), budget: budget, hash: hash}
}

func (sh *shard) bytes() int64 { return sh.log.size + sh.index.bytes() }

// find returns a record and where it is.
func (sh *shard) find(fp fingerprint, uid string) (location, rawRecord, bool) {
	if at, ok := sh.index.records[fp]; ok {
		if raw := sh.log.at(at); raw.hasUID(uid) {
			return at, raw, true
		}
	}
	if at, ok := sh.index.others[uid]; ok {
		return at, sh.log.at(at), true
	}
	return 0, nil, false
}

// has tells whether it has an order in the same state. A relist keeps its record then.
func (sh *shard) has(fp fingerprint, n *newRecord) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, raw, ok := sh.find(fp, n.uid)
	if !ok || !raw.same(n) {
		return false
	}
	sh.keep(fp, n.uid, at)
	return true
}

// keep says that a relist has found the record at a location unchanged. With a budget
// it becomes the newest, or records that the snapshot has earlier would outlive it.
func (sh *shard) keep(fp fingerprint, uid string, at location) {
	if !sh.relist {
		return
	}
	sh.log.mark(at)
	if sh.budget > 0 {
		raw := sh.log.at(at)
		n := raw.len()
		sh.move(fp, uid, at, sh.log.append(n, sh.chunkSize(), func(dst []byte) { copy(dst, raw[:n]) }))
		sh.tidy()
	}
}

// move says that an order's record is at another location, with the old one's mark.
func (sh *shard) move(fp fingerprint, uid string, from, to location) {
	if sh.log.marked(from) {
		sh.log.mark(to)
	}
	sh.index.move(fp, uid, from, to)
	sh.log.release(from)
}

// put stores a record in place of the one with the same uid, and tells whether
// the two differ.
func (sh *shard) put(fp fingerprint, n *newRecord) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old, raw, exists := sh.find(fp, n.uid)
	if exists && raw.same(n) {
		sh.keep(fp, n.uid, old)
		return false
	}
	if sh.budget > 0 && int64(n.len())+entryBytes > sh.budget {
		if exists {
			sh.forget(fp, n.uid, old)
		}
		sh.evicted++
		return true
	}
	var at location
	if exists {
		at = sh.replace(fp, n, old)
	} else {
		at = sh.write(n)
		sh.index.insert(fp, n.uid, at)
	}
	if sh.relist {
		sh.log.mark(at)
	}
	sh.tidy()
	return true
}

// shrink replaces the record of the same body, if it is there.
func (sh *shard) shrink(fp fingerprint, n *newRecord) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old, raw, exists := sh.find(fp, n.uid)
	if exists && raw.same(n) && n.len() < raw.len() {
		sh.replace(fp, n, old)
		sh.tidy()
	}
}

func (sh *shard) write(n *newRecord) location {
	sh.content += int64(n.size)
	return sh.log.append(n.len(), sh.chunkSize(), n.writeTo)
}

func (sh *shard) replace(fp fingerprint, n *newRecord, old location) location {
	sh.content -= int64(sh.log.at(old).head().size)
	at := sh.write(n)
	sh.move(fp, n.uid, old, at)
	return at
}

// relisting says that a relist begins, perhaps after one that was cut, or ends.
func (sh *shard) relisting(begins bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range sh.log.chunks {
		sh.log.chunks[i].marks = nil
	}
	if sh.relist = begins; begins {
		sh.evicted = 0
	}
}

// unmarked are the orders that a relist did not find.
func (sh *shard) unmarked() (uids []string) {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for slot := sh.log.oldest; slot != none; slot = sh.log.chunks[slot].newer {
		sh.log.each(slot, func(raw rawRecord, at location) bool {
			if !sh.log.marked(at) && sh.isLive(raw, at) {
				uids = append(uids, strings.Clone(raw.uid()))
			}
			return true
		})
	}
	return uids
}

func (sh *shard) delete(fp fingerprint, uid string) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, _, ok := sh.find(fp, uid)
	if !ok {
		return false
	}
	sh.forget(fp, uid, at)
	sh.tidy()
	return true
}

// forget removes a record that find found at a location.
func (sh *shard) forget(fp fingerprint, uid string, at location) {
	sh.content -= int64(sh.log.at(at).head().size)
	sh.index.remove(fp, uid, at)
	sh.log.release(at)
}

// chunkSize grows with the shard: the room at the end of the newest chunk, and
// those at the ends of the others that no record fitted, are to be a small share
// of it.
func (sh *shard) chunkSize() int {
	const usualRecord = 1 << 10
	size := int64(math.Sqrt(float64(sh.log.live * usualRecord)))
	if sh.budget > 0 {
		size = min(size, sh.budget/16)
	}
	return wholeSize(int(min(size, maxChunk)))
}

// tidy keeps the shard within its budget and its share of dead bytes bounded.
// Each call does a bounded step: a mutation makes far fewer bytes dead than a
// step can reclaim.
func (sh *shard) tidy() {
	if !sh.saving && sh.log.dead() > sh.log.size/32+maxChunk/4 {
		sh.log.compact(sh.isLive, func(raw rawRecord, from, to location) {
			uid := raw.uid()
			sh.index.move(fingerprintOf(sh.hash(uid)), uid, from, to)
		})
	}
	for (sh.budget > 0 && sh.bytes() > sh.budget || sh.log.full()) && sh.log.oldest != none {
		sh.evictOldest()
	}
}

func (sh *shard) isLive(raw rawRecord, at location) bool {
	uid := raw.uid()
	return sh.index.has(fingerprintOf(sh.hash(uid)), uid, at)
}

// evictOldest drops the chunk whose records arrived first.
func (sh *shard) evictOldest() {
	slot := sh.log.oldest
	sh.log.each(slot, func(raw rawRecord, at location) bool {
		if sh.isLive(raw, at) {
			uid := raw.uid()
			sh.content -= int64(raw.head().size)
			sh.index.remove(fingerprintOf(sh.hash(uid)), uid, at)
			sh.evicted++
		}
		return true
	})
	sh.log.drop(slot)
}
