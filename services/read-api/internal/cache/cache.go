// Package cache holds all orders in memory and keeps them equal to the tables.
//
// The parts, a file each: Cache (what readers ask), Reflector (the loop that
// fills it), Store (the memory).
package cache

import (
	"sync/atomic"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// Cache is the orders as they are in the tables, a moment ago. Its contract:
//
//   - It is filled by one Reflector, from a snapshot of all orders and then,
//     without a gap, from everything that was committed after it. A committed
//     change shows up within milliseconds while notifications arrive, within the
//     poll's interval when they don't, and after an outage as soon as the
//     database answers again.
//   - It is eventually consistent. For one order it never goes backwards: a
//     state that a reader has seen is only followed by later ones, over relists
//     and outages as well; a standby that is behind what was read from another
//     server is waited for. Only where the database itself goes back (an older
//     backup restored, a standby that takes over without the last transactions)
//     does the cache go with it. Between orders there is no order: of two orders
//     that one transaction changed, a reader may see one new and the other still
//     old.
//   - An order is always a state that was committed, with all of its parts from
//     one moment: never half of a change.
//   - HasSynced is false until the snapshot and the changes that happened while
//     it was read are in; nothing is found until then. Once true it stays true.
//   - A relist compares the store in place with a new snapshot: each order turns from
//     its old state to the snapshot's by itself, and what the snapshot lacks goes at the
//     end. From the moment that one is called for until the changes after it are in,
//     everything found is marked as out of date.
//   - Staleness is how long ago the last complete round of reading changes
//     began: whatever was committed before that moment is in. It grows while the
//     database is away, and what is found is then as old as that. Committed means
//     on the server that is read: how far a standby is behind its primary comes
//     on top, and isn't known here.
//   - That an order isn't found means that it didn't exist at some moment at most
//     Staleness ago, but only where Absent says so: a store with a budget may
//     have dropped it.
//   - A read of the database itself may be ahead of the cache by the time that a
//     change takes to arrive.
//
// Methods are safe for concurrent use and don't wait for the Reflector.
type Cache struct {
	maxStaleness time.Duration
	base         time.Time // of the times below: the monotonic clock in one number
	store        atomic.Pointer[Store]
	began        atomic.Int64 // when the last complete round began, in ns since base
	relisting    atomic.Bool
	refresh      chan struct{} // holds one request: after one or many, one round follows

	subscribers []Subscriber
	indexBytes  atomic.Int64 // that subscribers use beside the store
}

// Subscriber is told what comes into a cache that readers have. Its methods are
// called one at a time from the Reflector's goroutine, and hold up the cache while
// they run.
type Subscriber interface {
	// Begin is called before each round of changes, and once before a relist. A round
	// that fails isn't applied; the next one brings its changes again. A relist goes on
	// until Relisted, however often it fails, and brings a change once.
	Begin(from changes.Position, relist bool)
	// Put says that the round has brought an order, which may be kept, but for its
	// canonical JSON. changed is false where the cache had the same already.
	Put(o changes.Order, changed bool)
	// Delete says that the round has deleted an order. changed is false where the
	// cache did not have it.
	Delete(uid string, changed bool)
	// Applied says that the round is complete. The cache does not vouch for it yet.
	Applied(to changes.Position)
	// Relisted says that the cache was filled, or a relist has ended. known says that all
	// its changes were brought since Begin.
	Relisted(to changes.Position, known bool)
}

// Subscribe adds a subscriber. It must be called before the Reflector starts.
func (c *Cache) Subscribe(s Subscriber) { c.subscribers = append(c.subscribers, s) }

// Refresh asks for a round of changes. It never blocks. If a round is under way,
// another one follows.
func (c *Cache) Refresh() {
	select {
	case c.refresh <- struct{}{}:
	default: // one is requested already
	}
}

// New returns an empty cache. maxStaleness is the age up to which it says that
// an order does not exist.
func New(maxStaleness time.Duration) *Cache {
	return &Cache{maxStaleness: maxStaleness, base: time.Now(), refresh: make(chan struct{}, 1)}
}

// HasSynced tells whether the cache has been filled.
func (c *Cache) HasSynced() bool { return c.store.Load() != nil }

// Current tells whether the cache has everything that was committed a moment ago.
func (c *Cache) Current() bool { return c.HasSynced() && c.Outdated(time.Now()) == 0 }

// Outdated is 0 while the cache has everything that was committed up to a moment ago:
// while its Staleness is below the maximum and no relist is called for. Otherwise it is
// the Staleness, which answers are marked with.
func (c *Cache) Outdated(now time.Time) time.Duration {
	staleness := c.Staleness(now)
	if staleness < c.maxStaleness && !c.relisting.Load() {
		return 0
	}
	return max(staleness, 1)
}

// Staleness is how old the cache's knowledge is at a moment. Before HasSynced it
// is the time since the cache was made.
func (c *Cache) Staleness(now time.Time) time.Duration {
	return max(0, now.Sub(c.base)-time.Duration(c.began.Load()))
}

// Lookup is what is known of one order.
type Lookup struct {
	Record // of a found order
	Found  bool
	// Absent says that the order doesn't exist, or didn't a moment ago. Neither Found
	// nor Absent means that the cache can't tell.
	Absent   bool
	Outdated time.Duration // as Cache.Outdated has it
}

// Get looks an order up. It allocates nothing.
func (c *Cache) Get(uid string, now time.Time) Lookup {
	// Read before the look-up, or a round that ends in between would vouch for a
	// store that it had not reached yet.
	outdated := c.Outdated(now)
	store := c.store.Load()
	if store == nil {
		return Lookup{Outdated: outdated}
	}
	if record, ok := store.Get(uid); ok {
		return Lookup{Record: record, Found: true, Outdated: outdated}
	}
	return Lookup{Absent: outdated == 0 && store.Complete(uid), Outdated: outdated}
}

// Hash is what Find finds an order by. Only a cache that has synced has hashes, and they stay.
func (c *Cache) Hash(uid string) uint64 { return c.store.Load().hash(uid) }

// Find returns the record of an order_uid with a hash: of one of them if there are several,
// which is less likely than one in a hundred thousand among ten million.
func (c *Cache) Find(hash uint64) (Record, bool) { return c.store.Load().find(hash) }

// Each gives use all orders, those that change meanwhile as they were or as they become, until
// it returns false.
func (c *Cache) Each(use func(Record) bool) { c.store.Load().each(use) }

// SetIndexBytes says how much memory is used to find orders in lists.
func (c *Cache) SetIndexBytes(bytes int64) { c.indexBytes.Store(bytes) }

// Stats are the cache's figures at one moment.
type Stats struct {
	StoreStats
	Synced    bool
	Complete  bool // every order of the tables is held
	Staleness time.Duration
}

// Stats sums up what the cache holds.
func (c *Cache) Stats() Stats {
	stats := Stats{Staleness: c.Staleness(time.Now())}
	if store := c.store.Load(); store != nil {
		stats.Synced, stats.StoreStats = true, store.Stats()
		stats.Complete = stats.Evicted == 0 && !store.partial.Load()
	}
	return stats
}

// advance gives readers a store that has everything committed before a moment.
func (c *Cache) advance(store *Store, began time.Time) {
	c.store.Store(store)
	c.began.Store(int64(began.Sub(c.base)))
	c.relisting.Store(false)
}
