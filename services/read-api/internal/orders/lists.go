package orders

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// ListConns is how many connections Lists uses at most.
const ListConns = 3

// MaxLimit is the most orders that a page has.
const MaxLimit = 100

// Key is an order's place in the lists: newest first, order_uid as tie-breaker.
type Key struct {
	Created time.Time // to the microsecond
	UID     string
}

// Page is a part of a list.
type Page struct {
	Orders [][]byte // canonical JSON
	Next   *Key     // to go on after; nil at the end
}

// Lists reads lists from the database, which has an index in their order. A
// list is of one moment, and the next page goes on where the last one ended,
// whatever has arrived in between. Methods are safe for concurrent use.
type Lists struct {
	db    *bun.DB
	slots chan struct{}
}

// NewLists reads from db, in transactions of its own.
func NewLists(db *bun.DB) *Lists {
	return &Lists{db: db, slots: make(chan struct{}, ListConns)}
}

const (
	selectNewest = `SELECT order_uid, date_created FROM orders
		ORDER BY date_created DESC, order_uid DESC LIMIT $1`
	selectOlder = `SELECT order_uid, date_created FROM orders
		WHERE (date_created, order_uid) < ($2, $3)
		ORDER BY date_created DESC, order_uid DESC LIMIT $1`
)

// Read returns up to limit orders after a key, or the newest without one. An
// error is ErrUnavailable.
func (l *Lists) Read(ctx context.Context, after *Key, limit int) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return Page{}, fmt.Errorf("%w: %d lists are being read already", ErrUnavailable, ListConns)
	}
	var page Page
	err := readOnly(ctx, l.db, func(tx bun.Tx) error {
		keys, err := readKeys(ctx, tx.Tx, after, limit+1)
		if err != nil {
			return err
		}
		if len(keys) > limit {
			keys = keys[:limit]
			page.Next = &keys[limit-1]
		}
		page.Orders, err = readBodies(ctx, tx.Tx, keys)
		return err
	})
	return page, err
}

func readKeys(ctx context.Context, tx *sql.Tx, after *Key, limit int) ([]Key, error) {
	query, args := selectNewest, []any{limit}
	if after != nil {
		query, args = selectOlder, []any{limit, after.Created, after.UID}
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var keys []Key
	for rows.Next() {
		var key Key
		if err := rows.Scan(&key.UID, &key.Created); err != nil {
			return nil, fmt.Errorf("list orders: %w", err)
		}
		keys = append(keys, key)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	return keys, nil
}

func readBodies(ctx context.Context, tx *sql.Tx, keys []Key) ([][]byte, error) {
	uids := make([]string, len(keys))
	for i, key := range keys {
		uids[i] = key.UID
	}
	stored, err := orderdb.Read(ctx, tx, uids)
	if err != nil {
		return nil, err
	}
	bodies := make([][]byte, 0, len(uids))
	for _, uid := range uids {
		if s, ok := stored[uid]; ok { // always, in one transaction
			bodies = append(bodies, model.AppendCanonical(nil, s.Order))
		}
	}
	return bodies, nil
}
