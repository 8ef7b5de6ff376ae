package reader_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
)

// writer is a client that makes random transactions.
type writer struct {
	t      *testing.T
	url    string
	random *rand.Rand
	conn   *pgx.Conn // nil: none
	worker *worker
}

// worker is what a worker writes with, in the modes newest and delete.
type worker struct {
	*orderwrite.Writer
	outcomes sync.Map
}

// write makes transactions. One that the server refuses, for a duplicate or a
// deadlock, is rolled back: that is a change that must not show, too. So is one
// whose server goes away, unless its COMMIT was the last that it heard.
func (w *writer) write(transactions int) {
	defer func() {
		if w.conn != nil {
			_ = w.conn.Close(context.Background())
		}
	}()
	for range transactions {
		if !w.connect() {
			return
		}
		if w.random.IntN(5) == 0 {
			w.record()
			continue
		}
		statements := []string{"BEGIN"}
		if w.random.IntN(3) == 0 {
			statements = append(statements, w.batch()...)
		} else {
			for range 1 + w.random.IntN(4) {
				statements = append(statements, w.operation())
			}
		}
		if w.random.IntN(4) == 0 { // stays open for a while
			statements = append(statements, fmt.Sprintf("SELECT pg_sleep(%f)", w.random.Float64()/20))
		}
		statements = append(statements, []string{"COMMIT", "COMMIT", "COMMIT", "ROLLBACK"}[w.random.IntN(4)])
		// One by one, as a client with a program between them does.
		for _, statement := range statements {
			if err := w.exec(statement); err != nil {
				if !w.conn.IsClosed() {
					_ = w.exec("ROLLBACK") // the next connect sees whether the connection has gone
				}
				break
			}
		}
	}
}

// record has the worker store an order, replace it, or delete it, by a record that is newer
// than all before. One at a time does so with an order: after a TRUNCATE, an older record
// would be stored again.
func (w *writer) record() {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	uid, version := someUID(sqlUIDs+w.random.IntN(uidCount-sqlUIDs)), int64(0)
	if w.exec("BEGIN;"+create(uid)) == nil && w.conn.QueryRow(ctx, `SELECT nextval('version')`).Scan(&version) == nil {
		e := &orderwrite.Entry{Deletes: uid, Stamp: &model.Stamp{Time: time.UnixMilli(version).UTC(), Offset: version}}
		if w.random.IntN(4) > 0 {
			e.Order, e.Deletes = ordered(uid, fmt.Sprint("name ", w.random.IntN(3)), version), ""
			e.Order.SmID = version
			e.Order.Items = slices.Repeat(e.Order.Items, 1+w.random.IntN(4))
			e.Hash = model.ContentHash(model.AppendCanonical(nil, e.Order))
		}
		if w.worker.Write(ctx, []*orderwrite.Entry{e}) == nil { // it may be written without an answer
			w.worker.outcomes.Store(e.Outcome, true)
		}
	}
	if !w.conn.IsClosed() {
		_ = w.exec("ROLLBACK")
	}
}

func (w *writer) exec(statement string) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	_, err := w.conn.PgConn().Exec(ctx, statement).ReadAll()
	var refused *pgconn.PgError
	if err != nil && !errors.As(err, &refused) {
		_ = w.conn.Close(context.Background()) // it is of no more use
	}
	return err
}

// connect makes sure that there is a connection, waiting for a server that is
// down.
func (w *writer) connect() bool {
	if w.conn != nil && !w.conn.IsClosed() {
		return true
	}
	var err error
	connected := poll(func() bool {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		defer cancel()
		if w.conn, err = pgx.Connect(ctx, w.url); err != nil {
			return false
		}
		// Who waits for a TRUNCATE, or with one, gives way before readers do.
		return w.exec(`SET lock_timeout = '200ms'`) == nil
	})
	if !connected {
		w.t.Errorf("connect a writer: %v", err)
	}
	return connected
}

// batch is what the worker does: orders that are not there yet, in the order of
// their uids, with one notification for all. Sometimes that is lost.
func (w *writer) batch() []string {
	notify := "pg_notify('orders_changed', '')"
	if w.random.IntN(5) == 0 {
		notify = "''"
	}
	statements := []string{"SELECT set_config('orderhub.whole_orders', 'on', true), " + notify}
	var uids []string
	for range 1 + w.random.IntN(6) {
		uids = append(uids, w.uid())
	}
	slices.Sort(uids)
	for _, uid := range slices.Compact(uids) {
		statements = append(statements, create(uid)+insertOrder(uid, 1+w.random.IntN(4)))
	}
	return statements
}

func (w *writer) uid() string { return someUID(w.random.IntN(sqlUIDs)) }

// create is for whoever makes or removes an order of a uid, one at a time. An
// INSERT that waits for another one's DELETE has its version by then; with others
// in between it would be an old one.
func create(uids ...string) string {
	slices.Sort(uids)
	var locks strings.Builder
	for _, uid := range slices.Compact(uids) {
		fmt.Fprintf(&locks, "SELECT pg_advisory_xact_lock(hashtext('%s'));", uid)
	}
	return locks.String()
}

// operation is a change in SQL. Each gives the order a version larger than all
// before: nextval is called anew when an update has waited for another.
func (w *writer) operation() string {
	uid := w.uid()
	version := fmt.Sprintf(`UPDATE orders SET sm_id = nextval('version') WHERE order_uid = '%s'`, uid)
	switch w.random.IntN(24) {
	case 0, 1, 2, 3:
		return create(uid) + insertOrder(uid, 1+w.random.IntN(4))
	case 4, 5:
		return version
	case 6, 7:
		return fmt.Sprintf(`%s; UPDATE items SET price = price + 1 WHERE order_uid = '%s'`, version, uid)
	case 8:
		return fmt.Sprintf(`UPDATE items SET price = %d WHERE order_uid = '%s' AND position = 0`, w.random.IntN(100), uid)
	case 9:
		return fmt.Sprintf(`UPDATE deliveries SET city = 'city %d' WHERE order_uid = '%s'`, w.random.IntN(100), uid)
	case 10:
		return fmt.Sprintf(`UPDATE payments SET amount = %d WHERE order_uid = '%s'`, w.random.IntN(100), uid)
	case 11:
		other := w.uid()
		return create(uid, other) +
			fmt.Sprintf(`UPDATE orders SET order_uid = '%s', sm_id = nextval('version') WHERE order_uid = '%s'`, other, uid)
	case 12, 13:
		return create(uid) + fmt.Sprintf(`DELETE FROM orders WHERE order_uid = '%s'`, uid)
	case 14:
		return fmt.Sprintf(`DELETE FROM items WHERE order_uid = '%s' AND position > 0`, uid)
	case 15:
		return fmt.Sprintf(`DELETE FROM payments WHERE order_uid = '%s'`, uid)
	case 16:
		return create(uid) + fmt.Sprintf(`DELETE FROM orders WHERE order_uid = '%[1]s'; %[2]s`, uid, insertOrder(uid, 2))
	case 17, 18:
		return `SAVEPOINT s; ` + w.operation() + `; ROLLBACK TO s`
	case 19:
		return `SAVEPOINT s; ` + w.operation() + `; RELEASE s`
	case 20:
		return `UPDATE items SET status = status + 1`
	case 21:
		return w.rare()
	case 22:
		last := []string{someUID(sqlUIDs - 1), someUID(sqlUIDs - 2)}
		return create(last...) + fmt.Sprintf(`DELETE FROM orders WHERE order_uid IN ('%s', '%s')`, last[0], last[1])
	default:
		return fmt.Sprintf(`UPDATE orders SET sm_id = nextval('version') WHERE order_uid IN ('%s', '%s')`, uid, w.uid())
	}
}

func (w *writer) rare() string {
	switch w.random.IntN(6) {
	case 0, 1:
		return `TRUNCATE ` + []string{"orders, deliveries, payments, items", "items", "deliveries", "order_deletions"}[w.random.IntN(4)]
	case 2:
		return pruneAll
	default:
		return `SELECT pg_sleep(0.01)`
	}
}

// pruneAll is the worker's pruning, without the patience.
const pruneAll = `WITH gone AS (DELETE FROM order_deletions RETURNING change_xid)
	UPDATE order_changes_state SET horizon = greatest((horizon::text::numeric + 1)::text::xid8,
		((SELECT max(change_xid::text::numeric) FROM gone) + 1)::text::xid8)
	WHERE EXISTS (SELECT FROM gone)`
