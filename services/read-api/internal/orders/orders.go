// Package orders answers requests for orders, from memory if the answer is known there
// and else from the database.
package orders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// ErrUnavailable is returned when memory does not have the answer, and the database
// is away, slow or not ready. It is joined with the cause.
var ErrUnavailable = errors.New("the orders can't be read now")

// ErrUnsorted and ErrUnindexed are an ErrUnavailable: the database has lists with the newest
// order first only, and only with the indexes that migrations.CreateListIndexes makes.
var (
	ErrUnsorted  = fmt.Errorf("%w in this sequence", ErrUnavailable)
	ErrUnindexed = fmt.Errorf("%w without an index", ErrUnavailable)
)

// Orders is the one place that the API and the page ask. Methods are safe for
// concurrent use.
type Orders struct {
	*Lists

	cache   *cache.Cache
	through *ReadThrough
}

// New puts the three sources together.
func New(cache *cache.Cache, through *ReadThrough, lists *Lists) *Orders {
	return &Orders{cache: cache, through: through, Lists: lists}
}

// Outdated is for how long it has not been known whether the orders in memory have
// changed, if that is longer than it may be, or a relist is called for; else 0.
func (o *Orders) Outdated(now time.Time) time.Duration {
	if !o.cache.HasSynced() {
		return 0
	}
	return o.cache.Outdated(now)
}

// Get looks an order up, in memory first, which allocates nothing. fresh asks the database in
// any case. The order is Found or Absent unless there is an error, which is ErrUnavailable, or
// ctx's.
func (o *Orders) Get(ctx context.Context, uid string, fresh bool) (cache.Lookup, error) {
	if !fresh {
		if known := o.cache.Get(uid, time.Now()); known.Found || known.Absent {
			return known, nil
		}
	}
	record, err := o.through.Read(ctx, uid)
	if err != nil || record == nil {
		return cache.Lookup{Absent: err == nil}, err
	}
	return cache.Lookup{Found: true, Record: *record}, nil
}
