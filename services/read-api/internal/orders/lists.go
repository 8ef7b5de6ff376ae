package orders

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// ListConns is how many connections Lists uses at most.
const ListConns = 3

// MaxLimit is the most orders that a page has.
const MaxLimit = 100

// Page is a part of a list.
type Page struct {
	Orders [][]byte // canonical JSON
	// Next is the key to go on after; nil at the end. A page with it may be short,
	// or empty: then no more rows were looked at.
	Next *Key
}

// Lists reads lists from the database, which has indexes in their order. A page
// is of one moment, and the next one goes on where it ended, whatever has
// arrived in between. Methods are safe for concurrent use.
type Lists struct {
	db    *bun.DB
	slots chan struct{}
}

// NewLists reads from db, in transactions of its own.
func NewLists(db *bun.DB) *Lists {
	return &Lists{db: db, slots: make(chan struct{}, ListConns)}
}

// Read returns up to limit of a filter's orders after a key, or the newest
// without one. after must be of a list with the same filter. An error is
// ErrUnavailable.
func (l *Lists) Read(ctx context.Context, filter Filter, after *Key, limit int) (Page, error) {
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
		keys, next, err := readKeys(ctx, tx.Tx, newScan(filter, after, limit), limit)
		if err != nil {
			return err
		}
		page.Next = next
		page.Orders, err = readBodies(ctx, tx.Tx, keys)
		return err
	})
	return page, err
}

// readKeys returns the keys of a page, and the one to go on after.
func readKeys(ctx context.Context, tx *sql.Tx, s scan, limit int) (keys []Key, next *Key, err error) {
	if _, err := tx.ExecContext(ctx, planSettings); err != nil {
		return nil, nil, fmt.Errorf("list orders: %w", err)
	}
	rows, err := tx.QueryContext(ctx, s.sql, s.args...)
	if err != nil {
		return nil, nil, fmt.Errorf("list orders: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var key Key
		var place int
		var matches bool
		if err := rows.Scan(&key.UID, &key.Created, &place, &matches); err != nil {
			return nil, nil, fmt.Errorf("list orders: %w", err)
		}
		switch {
		case matches && len(keys) == limit:
			next = &keys[limit-1]
		case matches:
			keys = append(keys, key)
		}
		if next == nil && s.budget > 0 && place == s.budget {
			next = &key
		}
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("list orders: %w", err)
	}
	return keys, next, nil
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
