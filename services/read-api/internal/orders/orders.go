// Package orders answers questions about orders: from memory where memory
// knows, and from the database where it doesn't.
package orders

import (
	"context"
	"errors"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// ErrUnavailable says that the answer can't be known now: the database is away,
// slow or not ready, and memory doesn't have it. It wraps the cause.
var ErrUnavailable = errors.New("the orders can't be read now")

// Orders is the one place that the API and the page ask. Methods are safe for
// concurrent use.
type Orders struct {
	cache   *cache.Cache
	through *ReadThrough
	lists   *Lists
}

// New puts the three sources together.
func New(cache *cache.Cache, through *ReadThrough, lists *Lists) *Orders {
	return &Orders{cache: cache, through: through, lists: lists}
}

// Answer is what is known of one order.
type Answer struct {
	Found bool
	// Staleness is 0 for an answer that is current; else how long ago it was
	// known to be.
	Staleness time.Duration

	record cache.Record // of an answer from memory
	read   *Stored      // of one from the database
}

// Stored is an order as the database had it.
type Stored struct {
	canonical []byte
	etag      string
}

// ETag is the strong entity tag of a found order.
func (a Answer) ETag() string {
	if a.read != nil {
		return a.read.etag
	}
	return a.record.ETag()
}

// Len is the length of a found order's canonical JSON.
func (a Answer) Len() int {
	if a.read != nil {
		return len(a.read.canonical)
	}
	return a.record.Len()
}

// View calls use with a found order's canonical JSON, valid until use returns.
func (a Answer) View(use func(canonical []byte)) {
	if a.read != nil {
		use(a.read.canonical)
		return
	}
	a.record.View(use)
}

// AppendTo appends a found order's canonical JSON to dst.
func (a Answer) AppendTo(dst []byte) []byte {
	if a.read != nil {
		return append(dst, a.read.canonical...)
	}
	return a.record.AppendTo(dst)
}

// Bytes returns a found order's canonical JSON, which must not be changed.
func (a Answer) Bytes() []byte {
	if a.read != nil {
		return a.read.canonical
	}
	return a.record.Bytes()
}

// InPlace tells whether Bytes costs no copy.
func (a Answer) InPlace() bool { return a.read != nil || !a.record.Compressed() }

// Known looks an order up in memory, and tells whether memory knows. It allocates
// nothing and keeps nothing of uid.
func (o *Orders) Known(uid string, now time.Time) (answer Answer, ok bool) {
	known := o.cache.Get(uid, now)
	if !known.Found {
		return Answer{}, known.Absent
	}
	answer = Answer{Found: true, record: known.Record}
	if known.Staleness >= o.cache.MaxStaleness() {
		answer.Staleness = known.Staleness
	}
	return answer, true
}

// Get looks an order up. An order in memory is answered from there, whatever
// the database does; fresh demands the database's own word. An error is
// ErrUnavailable, or ctx's.
func (o *Orders) Get(ctx context.Context, uid string, fresh bool) (Answer, error) {
	if !fresh {
		if answer, ok := o.Known(uid, time.Now()); ok {
			return answer, nil
		}
	}
	order, err := o.through.Read(ctx, uid)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Found: order != nil, read: order}, nil
}

// List gives a page of a filter's orders, newest first, after a key of the same
// list, or from its start. It must not be changed. An error is ErrUnavailable, or
// ctx's.
func (o *Orders) List(ctx context.Context, filter Filter, after *Key, limit int) (Page, error) {
	return o.lists.Page(ctx, filter, after, limit)
}

// ListFresh is List by the database's own word.
func (o *Orders) ListFresh(ctx context.Context, filter Filter, after *Key, limit int) (Page, error) {
	return o.lists.Read(ctx, filter, after, limit)
}

// Suggest gives what a text that somebody types may be. An error is
// ErrUnavailable, or ctx's.
func (o *Orders) Suggest(ctx context.Context, text string) ([]Suggestion, error) {
	return o.lists.Suggest(ctx, text)
}
