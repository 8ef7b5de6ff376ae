package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"
)

// handMade begins the uids of orders that are written by hand.
const handMade = "hand-"

// hand writes, changes and deletes orders in the tables as people do with psql,
// so that readers have changes and deletions to follow.
type hand struct {
	url  string
	made int
}

// handPause is between two changes.
const handPause = 50 * time.Millisecond

// run goes on until ctx ends. What fails while the database is away is let go:
// the tables say in the end what was done.
func (h *hand) run(ctx context.Context, random *rand.Rand) {
	for sleep(ctx, handPause) == nil {
		_ = h.change(ctx, random)
	}
}

func (h *hand) change(ctx context.Context, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// A connection of its own: one that is kept breaks when the server is killed.
	db, err := sql.Open("pgx", h.url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	uid := fmt.Sprint(handMade, random.IntN(h.made+1))
	switch random.IntN(3) {
	case 0:
		return h.insert(ctx, db)
	case 1:
		_, err = db.ExecContext(ctx, `UPDATE deliveries SET city = $2 WHERE order_uid = $1`, uid, fmt.Sprint("City ", random.IntN(1000)))
	default:
		_, err = db.ExecContext(ctx, `DELETE FROM orders WHERE order_uid = $1`, uid)
	}
	return err
}

func (h *hand) insert(ctx context.Context, db *sql.DB) error {
	uid := fmt.Sprint(handMade, h.made)
	h.made++
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // fails once it is committed
	for _, statement := range []string{
		`INSERT INTO orders (order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard)
			VALUES ($1, 'TRACK', 'WEB', 'en', '', 'test', 'meest', '9', 99, '2021-11-26T06:22:19Z', '1')`,
		`INSERT INTO deliveries (order_uid, name, phone, zip, city, address, region, email)
			VALUES ($1, 'Test Testov', '+9720000000', '1', 'City', 'Street 1', 'R', 'test@example.com')`,
		`INSERT INTO payments (order_uid, transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee)
			VALUES ($1, $1, '', 'USD', 'pay', 1, 1637907727, 'alpha', 1, 1, 0)`,
		`INSERT INTO items (order_uid, position, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status)
			VALUES ($1, 0, 1, 'TRACK', 1, $1, 'Thing', 0, '0', 1, 1, 'B', 202)`,
	} {
		if _, err := tx.ExecContext(ctx, statement, uid); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// gone are uids that were written by hand and are not in the tables, some of them.
func (h *hand) gone(ctx context.Context) (gone []string, err error) {
	const enough = 1000
	db, err := sql.Open("pgx", h.url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(ctx, `SELECT $1 || n FROM generate_series(0, $2::bigint - 1) n
		WHERE NOT EXISTS (SELECT FROM orders WHERE order_uid = $1 || n) LIMIT $3`, handMade, h.made, enough)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var uid string
		if err := rows.Scan(&uid); err != nil {
			return nil, err
		}
		gone = append(gone, uid)
	}
	return gone, rows.Err()
}
