package orderwrite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
)

// decision is made inside a transaction and takes effect once that has succeeded.
type decision struct {
	entry   *Entry
	outcome Outcome
	differs []string
}

// row is what the look-up returns of an order that is stored.
type row struct {
	hash []byte
	xid  string
}

// forever means waiting for locks as long as the transaction may take.
const forever time.Duration = 0

// openQuery opens a transaction, looks orders up and moves positions in one round trip.
// It disables the insert triggers, since the transaction inserts whole orders, and sends
// the notification itself, which is delivered only after a commit. $1 is a lock_timeout
// in milliseconds; null keeps the present one. The advisory lock marks the transaction
// as a writer's, see endAbandoned. The version of the erased orders comes last, since it
// waits for a lock.
//
// Raw SQL: bun's builder has no LATERAL and writes values into the text. LATERAL
// and OFFSET 0 make the planner look each uid up in the index; for an array of
// thousands it would read the whole table until there are millions of orders.
// Nothing is prepared: a plan made while the table was empty would scan it.
const openQuery = `SELECT once.xid, once.erasures, o.order_uid, o.content_hash, o.change_xid::text, (SELECT string_agg(transactions::text, ',' ORDER BY partition) FROM moved)
	FROM (SELECT set_config('` + orderdb.WholeOrdersSetting + `', 'on', true), pg_notify('` + orderdb.NotifyChannel + `', ''),
		set_config('lock_timeout', coalesce($1, current_setting('lock_timeout')), true), pg_current_xact_id()::text AS xid,
		pg_try_advisory_xact_lock_shared(` + writerLock + `), ` + erased.Version + ` AS erasures OFFSET 0) AS once
	LEFT JOIN (unnest($2::text[]) AS wanted (uid) CROSS JOIN LATERAL
		(SELECT order_uid, content_hash, change_xid FROM orders WHERE order_uid = wanted.uid OFFSET 0) AS o) ON true`

// opened is what an open transaction starts with.
type opened struct {
	xid          string         // its id
	erasures     int64          // the version of the erased orders
	stored       map[string]row // of the entries' orders
	transactions []int64        // of the positions' partitions, this one included
}

// open opens the transaction, looks the entries' orders up and moves the positions.
func open(ctx context.Context, tx *sql.Tx, entries []*Entry, positions []Position, locks time.Duration) (o opened, err error) {
	uids := make([]string, len(entries))
	for i, e := range entries {
		uids[i] = e.Order.OrderUID
	}
	var lockTimeout *string
	if locks != forever {
		lockTimeout = new(strconv.FormatInt(locks.Milliseconds(), 10))
	}
	query, arguments := `WITH moved (partition, transactions) AS (SELECT 0, 0 WHERE false) `+openQuery, []any{lockTimeout, uids}
	if len(positions) > 0 {
		query, arguments = `WITH `+movePositions+openQuery, append(arguments, positionArguments(positions)...)
	}
	rows, err := tx.QueryContext(ctx, query, arguments...)
	if err != nil {
		return o, fmt.Errorf("look orders up: %w", err)
	}
	defer func() { _ = rows.Close() }()
	o.stored = map[string]row{}
	var moved sql.NullString
	for rows.Next() {
		var uid, rowXID *string
		var hash []byte
		if err := rows.Scan(&o.xid, &o.erasures, &uid, &hash, &rowXID, &moved); err != nil {
			return o, fmt.Errorf("look orders up: %w", err)
		}
		if uid != nil {
			o.stored[*uid] = row{hash: hash, xid: *rowXID}
		}
	}
	if err := rows.Err(); err != nil {
		return o, fmt.Errorf("look orders up: %w", err)
	}
	o.transactions, err = counts(moved.String, positions)
	return o, err
}

// compare sorts the entries into those that were erased or that the hash decides, those
// whose order is stored with another hash or none, and those to insert.
func compare(pending []*Entry, stored map[string]row, erased *erased.Known) (decided []decision, unlike, fresh []*Entry) {
	first := make(map[string]*Entry, len(pending))
	for _, e := range pending {
		r, exists := stored[e.Order.OrderUID]
		switch {
		case erased.Has(e.Order.OrderUID):
			decided = append(decided, decision{entry: e, outcome: Erased})
		case exists && bytes.Equal(r.hash, e.Hash[:]) && e.xid != "" && r.xid == e.xid:
			decided = append(decided, decision{entry: e, outcome: Stored}) // by our own commit, whose answer was lost
		case exists && bytes.Equal(r.hash, e.Hash[:]):
			decided = append(decided, decision{entry: e, outcome: Duplicate})
		case exists:
			unlike = append(unlike, e)
		case first[e.Order.OrderUID] == nil:
			first[e.Order.OrderUID] = e
			fresh = append(fresh, e)
		}
	}
	return decided, unlike, fresh
}

// compareRows compares entries with the rows as they are now: rows that were
// inserted or changed by hand may equal a record although their hash does not.
func (w *Writer) compareRows(ctx context.Context, tx *sql.Tx, unlike []*Entry) ([]decision, error) {
	uids := make([]string, 0, len(unlike))
	for _, e := range unlike {
		uids = append(uids, e.Order.OrderUID)
	}
	stored, err := orderdb.Read(ctx, tx, uids)
	if err != nil {
		return nil, err
	}
	decided := make([]decision, 0, len(unlike))
	for _, e := range unlike {
		s, ok := stored[e.Order.OrderUID]
		if !ok {
			continue // stays pending
		}
		differs := w.differs(s.Order, e.Order)
		if len(differs) == 0 {
			decided = append(decided, decision{entry: e, outcome: Duplicate})
		} else {
			decided = append(decided, decision{entry: e, outcome: Conflict, differs: differs})
		}
	}
	return decided, nil
}

// insert copies the orders into the tables. Raw SQL: COPY.
func (w *Writer) insert(ctx context.Context, conn bun.Conn, fresh []*Entry, absent []string) error {
	// Two writers that insert the same orders in the same sequence cannot deadlock.
	slices.SortFunc(fresh, func(a, b *Entry) int { return cmp.Compare(a.Order.OrderUID, b.Order.OrderUID) })
	rows := w.buffers.Get().(*orderdb.CopyIn)
	defer w.buffers.Put(rows)
	rows.Reset()
	rows.LeaveOut(absent)
	for _, e := range fresh {
		rows.Add(e.Order, e.Hash, e.Stamp)
	}
	return bundb.Traced(ctx, "COPY", func(ctx context.Context) error { // pgx traces queries only
		return bundb.Raw(conn, func(pg *pgx.Conn) error { return rows.Send(ctx, pg.PgConn()) })
	})
}

// maxAnnounced bounds the traced orders of a transaction that readers are told of.
const maxAnnounced = 100

// announce tells readers which of the orders are traced, once they are committed. A
// transaction without such orders costs nothing more.
func announce(ctx context.Context, tx *sql.Tx, fresh []*Entry) error {
	var traced []string
	for _, e := range fresh {
		if e.Traceparent != "" && len(traced) < maxAnnounced {
			traced = append(traced, fmt.Sprint(e.Traceparent, " ", e.Order.OrderUID, " ", time.Now().UnixNano()))
		}
	}
	if traced == nil {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload", orderdb.TraceChannel, traced); err != nil {
		return fmt.Errorf("announce traces: %w", err)
	}
	return nil
}
