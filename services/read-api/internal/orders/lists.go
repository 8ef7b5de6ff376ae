package orders

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// ListConns is how many connections Lists uses at most.
const ListConns = 3

// MaxLimit is the most orders that a page has.
const MaxLimit = 100

// Page is a part of a list.
type Page struct {
	UIDs   []string
	Orders [][]byte // canonical JSON, as many
	// Next is the key to go on after; nil at the end. A page with it may be short,
	// or empty: then no more rows were looked at.
	Next *Key
}

// Lists reads lists from memory, and else from the database, which has indexes in their
// order. A page is of one moment, and the next one goes on where it ended, whatever has
// arrived in between, and whichever of the two it is from. Methods are safe for
// concurrent use.
type Lists struct {
	db       *bun.DB
	slots    chan struct{}
	counting chan struct{} // holds the count that is being made
	index    *index
	answered atomic.Int64             // from memory
	took     *prometheus.HistogramVec // of the database
}

// NewLists reads from the cache, to which it subscribes, and from db, in transactions of its
// own.
func NewLists(db *bun.DB, c *cache.Cache, metrics prometheus.Registerer) *Lists {
	l := &Lists{
		db: db, slots: make(chan struct{}, ListConns), counting: make(chan struct{}, 1), index: newIndex(c),
		took: metric.Histograms(metrics, "orderhub_list_database_seconds", "Time that the database took for a list.", databaseBuckets, []string{"list"}, "orders", "count", "suggest", "versions"),
	}
	metric.CounterOf(metrics, "orderhub_list_memory_total", "Lists that memory answered.", l.answered.Load)
	return l
}

// Stop ends what runs beside requests. The cache must not change any more.
func (l *Lists) Stop() { l.index.stop() }

// List returns up to limit of a filter's orders after a key, or the first without one: from
// memory where that has all orders and everything that was committed a moment ago, and is not
// to be passed over for fresh ones, else from the database. after must be of a list with the
// same filter. An error is ErrUnavailable, perhaps ErrUnsorted or ErrUnindexed, or ctx's.
func (l *Lists) List(ctx context.Context, filter Filter, after *Key, limit int, fresh bool) (page Page, err error) {
	err = l.answer(ctx, fresh, func() (ok bool) {
		if page, ok = l.index.list(filter, after, limit); ok {
			l.answered.Add(1)
		}
		return ok
	}, func() error {
		page, err = l.listStored(ctx, filter, after, limit)
		return err
	})
	return page, err
}

// While a round brings changes, memory may not have an answer, and soon has it.
const (
	memoryTries = 20
	memoryPause = 10 * time.Millisecond
)

// answer asks memory, where that is current, and else the database, or with fresh only the
// database. Where that has no such answers, memory is asked again.
func (l *Lists) answer(ctx context.Context, fresh bool, memory func() bool, database func() error) error {
	// In this order: memory is then at least as new as the moment for which the cache vouches.
	if !fresh && l.index.cache.Current() && memory() {
		return nil
	}
	err := database()
	for tries := 0; !fresh && tries < memoryTries && l.index.ready.Load() && (errors.Is(err, ErrUnsorted) || errors.Is(err, ErrUnindexed)); tries++ {
		if retry.Sleep(ctx, memoryPause) != nil {
			return err
		}
		if l.index.cache.Current() && memory() {
			return nil
		}
	}
	return err
}

func (l *Lists) listStored(ctx context.Context, filter Filter, after *Key, limit int) (Page, error) {
	var page Page
	if filter.Sort != NewestFirst {
		return page, ErrUnsorted
	}
	err := l.read(ctx, "orders", []string{filter.searched()}, func(ctx context.Context, tx bun.Tx) error {
		if none, err := filter.hopeless(ctx, tx); none || err != nil {
			return err
		}
		keys, next, err := readKeys(ctx, tx, filter, after, limit)
		if err != nil {
			return err
		}
		page.Next = next
		return page.read(ctx, tx, keys)
	})
	return page, err
}

// read runs do in a transaction that may search along indexes only, when it is
// its turn, for readTimeout at most. The server ends what takes longer even
// where it can't be told that nobody waits any more. The error is ErrUnindexed if one of the
// indexes cannot be used.
func (l *Lists) read(ctx context.Context, kind string, indexes []string, do func(context.Context, bun.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %d lists are being read already", ErrUnavailable, ListConns)
	}
	defer prometheus.NewTimer(l.took.WithLabelValues(kind)).ObserveDuration()
	return view(ctx, l.db, func(ctx context.Context, tx bun.Tx) error {
		var lacking sql.NullString
		var set int
		if err := tx.NewRaw(searchSettings, pgdialect.Array(indexes)).Scan(ctx, &lacking, &set, &set); err != nil {
			return fmt.Errorf("prepare a search: %w", err)
		}
		if lacking.Valid {
			return fmt.Errorf("%w: %s", ErrUnindexed, lacking.String)
		}
		return do(ctx, tx)
	})
}

// readKeys returns the keys of a page, and the one that the next page starts after.
func readKeys(ctx context.Context, tx bun.Tx, filter Filter, after *Key, limit int) (keys []Key, next *Key, err error) {
	query, budget := search(tx, filter, after, limit)
	var places []place
	if err := query.Scan(ctx, &places); err != nil {
		return nil, nil, fmt.Errorf("list orders: %w", err)
	}
	for _, p := range places {
		switch {
		case p.Matches && len(keys) == limit:
			next = &keys[limit-1]
		case p.Matches:
			keys = append(keys, p.Key)
		}
		if next == nil && budget > 0 && p.Examined == budget {
			next = &p.Key
		}
	}
	return keys, next, nil
}

func (p *Page) read(ctx context.Context, tx bun.Tx, keys []Key) error {
	uids := make([]string, len(keys))
	for i, key := range keys {
		uids[i] = key.UID
	}
	stored, err := orderdb.Read(ctx, tx, uids)
	if err != nil {
		return err
	}
	for _, uid := range uids {
		if s, ok := stored[uid]; ok { // always, in one transaction
			p.UIDs, p.Orders = append(p.UIDs, uid), append(p.Orders, model.AppendCanonical(nil, s.Order))
		}
	}
	return nil
}
