package verify

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// tables reads orders as canonical JSON.
type tables struct{ db *sql.DB }

// pages gives use all orders, in the order of their uids. Each page is of a
// moment of its own.
func (t tables) pages(ctx context.Context, use func([]suspect) error) error {
	last := ""
	for {
		page, err := t.page(ctx, `SELECT order_uid FROM orders WHERE order_uid > $1 ORDER BY order_uid LIMIT $2`, last, pageOrders)
		if err != nil || len(page) == 0 {
			return err
		}
		last = page[len(page)-1].uid
		if err := use(page); err != nil {
			return err
		}
	}
}

// sample gives use about so many orders, chosen at random.
func (t tables) sample(ctx context.Context, size int, use func([]suspect) error) error {
	all, err := t.count(ctx)
	if err != nil {
		return err
	}
	// A few more are drawn than are wanted, since chance may draw fewer.
	percent := min(100, 100*(1.2*float64(size)+50)/float64(max(all, 1)))
	var uids []string
	err = t.moment(ctx, func(tx *sql.Tx) (err error) {
		uids, err = texts(ctx, tx, `SELECT order_uid FROM (SELECT order_uid FROM orders TABLESAMPLE BERNOULLI ($1::float4)
			ORDER BY random() LIMIT $2) AS drawn ORDER BY order_uid`, percent, size)
		return err
	})
	if err != nil {
		return err
	}
	for start := 0; start < len(uids); start += pageOrders {
		page, err := t.page(ctx, `SELECT unnest($1::text[])`, uids[start:min(start+pageOrders, len(uids))])
		if err != nil {
			return err
		}
		if err := use(page); err != nil {
			return err
		}
	}
	return nil
}

// deletions gives use the orders that are known to be gone; at most so many, if
// most isn't 0.
func (t tables) deletions(ctx context.Context, most int, use func([]suspect) error) error {
	return t.moment(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT DISTINCT order_uid FROM order_deletions d
			WHERE NOT EXISTS (SELECT FROM orders o WHERE o.order_uid = d.order_uid) LIMIT $1`, sql.NullInt64{Int64: int64(most), Valid: most > 0})
		if err != nil {
			return fmt.Errorf("read the deletions: %w", err)
		}
		defer func() { _ = rows.Close() }()
		var page []suspect
		for rows.Next() {
			var gone suspect
			if err := rows.Scan(&gone.uid); err != nil {
				return fmt.Errorf("read the deletions: %w", err)
			}
			if page = append(page, gone); len(page) == pageOrders {
				if err := use(page); err != nil {
					return err
				}
				page = nil
			}
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read the deletions: %w", err)
		}
		return use(page)
	})
}

func (t tables) count(ctx context.Context) (n int64, err error) {
	if err = t.db.QueryRowContext(ctx, `SELECT count(*) FROM orders`).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the orders: %w", err)
	}
	return n, nil
}

// stamps are what a change of an order changes. An order that isn't there has that
// of its last deletion: to be gone again it would have to be deleted again.
const stamps = `SELECT w.uid, coalesce('at ' || o.change_xid::text, 'gone at ' || d.last, 'gone')
	FROM unnest($1::text[]) AS w (uid) LEFT JOIN orders o ON o.order_uid = w.uid
	LEFT JOIN (SELECT order_uid, max(change_xid::text::numeric)::text AS last FROM order_deletions
		WHERE order_uid = ANY($1) GROUP BY order_uid) d ON d.order_uid = w.uid`

// read returns orders as they are now, with their stamps.
func (t tables) read(ctx context.Context, uids []string) (map[string]row, error) {
	found := make(map[string]row, len(uids))
	err := t.moment(ctx, func(tx *sql.Tx) error {
		stored, err := canonical(ctx, tx, uids)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, stamps, uids)
		if err != nil {
			return fmt.Errorf("read stamps: %w", err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var uid, stamp string
			if err := rows.Scan(&uid, &stamp); err != nil {
				return fmt.Errorf("read stamps: %w", err)
			}
			found[uid] = row{stored[uid], stamp}
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read stamps: %w", err)
		}
		return nil
	})
	return found, err
}

// page returns the orders whose uids a query gives, as of one moment.
func (t tables) page(ctx context.Context, query string, args ...any) ([]suspect, error) {
	var page []suspect
	err := t.moment(ctx, func(tx *sql.Tx) error {
		uids, err := texts(ctx, tx, query, args...)
		if err != nil {
			return err
		}
		stored, err := canonical(ctx, tx, uids)
		if err != nil {
			return err
		}
		for _, uid := range uids {
			page = append(page, suspect{uid, row{json: stored[uid]}})
		}
		return nil
	})
	return page, err
}

// moment runs do in a transaction that sees one moment.
func (t tables) moment(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := t.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("read orders: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	return do(tx)
}

// canonical is the JSON of those of the orders that are there.
func canonical(ctx context.Context, tx *sql.Tx, uids []string) (map[string]string, error) {
	stored, err := orderdb.Read(ctx, tx, uids)
	texts := make(map[string]string, len(stored))
	for uid, s := range stored {
		texts[uid] = string(model.AppendCanonical(nil, s.Order))
	}
	return texts, err
}

func texts(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read uids: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("read uids: %w", err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read uids: %w", err)
	}
	return all, nil
}

// differingPaths says where two orders' JSON differs, and never what is there.
func differingPaths(rows, body string) []string {
	var a, b model.Order
	if json.Unmarshal([]byte(rows), &a) != nil || json.Unmarshal([]byte(body), &b) != nil {
		return []string{"(no order)"}
	}
	if paths := model.Diff(&a, &b); len(paths) > 0 {
		return paths
	}
	return []string{"(the form alone)"}
}
