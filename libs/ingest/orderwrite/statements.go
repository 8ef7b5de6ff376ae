package orderwrite

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
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
// Nothing is prepared: a plan made while the table was empty would scan it. For the
// statements that follow, which read and change some orders by their keys, the planner is
// told the same by its settings: it would read whole tables of some 100,000 orders, and
// compile its plans where statistics are missing, which takes longer than to execute them.
const openQuery = `SELECT once.xid, once.erasures, o.*, (SELECT string_agg(transactions::text, ',' ORDER BY partition) FROM moved)
	FROM (SELECT set_config('` + orderdb.WholeOrdersSetting + `', 'on', true), set_config('enable_seqscan', 'off', true),
		set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true), pg_notify('` + orderdb.NotifyChannel + `', ''),
		set_config('lock_timeout', coalesce($1, current_setting('lock_timeout')), true), pg_current_xact_id()::text AS xid,
		pg_try_advisory_xact_lock_shared(` + writerLock + `), ` + erased.Version + ` AS erasures OFFSET 0) AS once
	LEFT JOIN (unnest($2::text[]) AS wanted (uid) CROSS JOIN LATERAL (`

// What openQuery looks up.
const (
	lookUp         = `SELECT order_uid, content_hash, change_xid::text, false, NULL::bigint, NULL::timestamptz, NULL::integer, NULL::bigint FROM orders WHERE order_uid = wanted.uid`
	lookUpStamp    = `SELECT order_uid, content_hash, change_xid::text, false, ` + stampColumns + ` FROM orders WHERE order_uid = wanted.uid`
	lookUpDeletion = ` UNION ALL SELECT order_uid, NULL, '', true, ` + stampColumns + ` FROM order_tombstones WHERE order_uid = wanted.uid`
	endOfOpenQuery = ` OFFSET 0) AS o) ON true`

	stampColumns = `record_version, record_time, record_partition, record_offset`
)

// moveNothing is in place of movePositions where there is none to be moved.
const moveNothing = `moved (partition, transactions) AS (SELECT 0, 0 WHERE false) `

// openQuery is the query as the writer needs it.
func (w *Writer) openQuery(moving string) string {
	looking := lookUp
	switch {
	case w.opts.Versions.Deletions:
		looking = lookUpStamp + lookUpDeletion
	case w.opts.Versions.Newest:
		looking = lookUpStamp
	}
	return `WITH ` + moving + openQuery + looking + endOfOpenQuery
}

// opened is what an open transaction starts with.
type opened struct {
	xid          string         // its id
	erasures     int64          // the version of the erased orders
	stored       map[string]row // of the entries' orders, and of their deletions
	transactions []int64        // of the positions' partitions, this one included
}

// open opens the transaction, looks the entries' orders up and moves the positions.
func (w *Writer) open(ctx context.Context, tx *sql.Tx, entries []*Entry, positions []Position, locks time.Duration) (o opened, err error) {
	uids := make([]string, len(entries))
	for i, e := range entries {
		uids[i] = e.UID()
	}
	var lockTimeout *string
	if locks != forever {
		lockTimeout = new(strconv.FormatInt(locks.Milliseconds(), 10))
	}
	moving, arguments := moveNothing, []any{lockTimeout, uids}
	if len(positions) > 0 {
		moving, arguments = movePositions, append(arguments, positionArguments(positions)...)
	}
	rows, err := tx.QueryContext(ctx, w.openQuery(moving), arguments...)
	if err != nil {
		return o, fmt.Errorf("look orders up: %w", err)
	}
	defer func() { _ = rows.Close() }()
	o.stored = map[string]row{}
	var moved sql.NullString
	for rows.Next() {
		var uid, rowXID *string
		var hash []byte
		var deleted *bool
		var version, offset *int64
		var at *time.Time
		var partition *int32
		if err := rows.Scan(&o.xid, &o.erasures, &uid, &hash, &rowXID, &deleted, &version, &at, &partition, &offset, &moved); err != nil {
			return o, fmt.Errorf("look orders up: %w", err)
		}
		if uid == nil {
			continue
		}
		r := row{hash: hash, xid: *rowXID, stamp: orderdb.StampOf(version, at, partition, offset), deleted: *deleted, remembered: *deleted}
		if other, both := o.stored[*uid]; both {
			r = other.and(r)
		}
		o.stored[*uid] = r
	}
	if err := rows.Err(); err != nil {
		return o, fmt.Errorf("look orders up: %w", err)
	}
	o.transactions, err = counts(moved.String, positions)
	return o, err
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
		rows.Add(e.Order, e.ContentHash(), e.Stamp)
	}
	return bundb.Traced(ctx, "COPY", func(ctx context.Context) error { // pgx traces queries only
		return bundb.Raw(conn, func(pg *pgx.Conn) error { return rows.Send(ctx, pg.PgConn()) })
	})
}

// maxAnnounced bounds the traced orders of a transaction that readers are told of.
const maxAnnounced = 100

// announce tells readers which of the orders are traced, once they are committed. A
// transaction without such orders costs nothing more.
func announce(ctx context.Context, tx *sql.Tx, entries []*Entry) error {
	var traced []string
	for _, e := range entries {
		if e.Traceparent != "" && e.Order != nil && len(traced) < maxAnnounced {
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

// The look-ups for foreign keys cost two fifths of a COPY into the tables. A transaction
// that inserts orders together with their parts cannot break the keys: each part's order is
// in it, the orders' key is unique, and nobody else sees the order before the commit, so
// nobody can delete it or change its key. PostgreSQL skips the look-ups in the replica
// role, and with them every trigger that is not made for that role. So a transaction takes
// it only for its COPYs, and only if nothing but Orderhub's own keys and triggers would be
// skipped. The constraints stay in force for everybody else.

// withoutLookUps takes the replica role for the rest of the transaction if that skips
// nothing but the look-ups. It returns what is in the way; "" if nothing is.
//
//go:embed foreignkeys.sql
var withoutLookUps string

// skipLookUps is withoutLookUps, and tells Options.ForeignKeys.
func (w *Writer) skipLookUps(ctx context.Context, tx *sql.Tx) error {
	var obstacle string
	if err := tx.QueryRowContext(ctx, withoutLookUps).Scan(&obstacle); err != nil {
		return fmt.Errorf("take the replica role: %w", err)
	}
	if last := w.obstacle.Swap(&obstacle); last == nil || *last != obstacle {
		w.opts.ForeignKeys(obstacle)
	}
	return nil
}
