package rig

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// Changes are how many orders are changed in each way.
type Changes struct{ Updates, Deletes, Inserts int }

// Sum is how many that are.
func (c Changes) Sum() int { return c.Updates + c.Deletes + c.Inserts }

// chooseOrders takes the orders behind random uids, whose first digits are random
// themselves.
const chooseOrders = `SELECT DISTINCT uid FROM generate_series(1, $1) AS n, LATERAL
	(SELECT order_uid AS uid FROM orders WHERE order_uid > left(md5(random()::text || n), 15) ORDER BY order_uid LIMIT 1) AS next`

// Change changes random orders in a transaction, about as many as wanted: updated ones
// get another address and other items, and inserted ones are copies under new uids.
// What was done is added to sum.
func Change(ctx context.Context, conn *pgx.Conn, wanted Changes, sum *Changes) (deleted []string, err error) {
	rows, err := conn.Query(ctx, chooseOrders, wanted.Sum())
	if err != nil {
		return nil, err
	}
	chosen, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	take := func(n int) (some []string) {
		n = min(n, len(chosen))
		some, chosen = chosen[:n], chosen[n:]
		return some
	}
	deleted, copied, updated := take(wanted.Deletes), take(wanted.Inserts), take(wanted.Updates)
	stamp := fmt.Sprintf("%08x", rand.Uint32())
	batch := &pgx.Batch{}
	batch.Queue(`UPDATE deliveries SET address = 'Street ' || left(repeat(md5(order_uid || $2), 2), 4 + abs(hashtext(order_uid || $2)) % 40)
		WHERE order_uid = ANY($1)`, updated, stamp)
	batch.Queue(`UPDATE items SET status = status + 1 WHERE order_uid = ANY($1)`, updated)
	batch.Queue(`DELETE FROM orders WHERE order_uid = ANY($1)`, deleted)
	for _, t := range orderdb.Tables {
		batch.Queue(fmt.Sprintf(`INSERT INTO %[1]s (order_uid, %[2]s) SELECT left(md5(order_uid || $2), 15) || 'new', %[2]s
			FROM %[1]s WHERE order_uid = ANY($1)`, t.Name, strings.Join(t.Columns[1:], ", ")), copied, stamp)
	}
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() }); err != nil {
		return nil, fmt.Errorf("change orders: %w", err)
	}
	sum.Updates, sum.Deletes, sum.Inserts = sum.Updates+len(updated), sum.Deletes+len(deleted), sum.Inserts+len(copied)
	return deleted, nil
}
