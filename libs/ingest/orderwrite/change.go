package orderwrite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
)

// lockTables locks what a transaction must lock before it has a snapshot. Raw SQL: bun has
// no LOCK. Without arguments the statements are one round trip.
//
// With the tables of orders locked as COPY locks them, nobody can add a key or a trigger that
// a transaction of whole orders does not see.
//
// A deletion and an older record of its order that is not stored yet change no common row. So a
// transaction that deletes waits for all others that look deletions up, and they for it.
func (w *Writer) lockTables(ctx context.Context, tx *sql.Tx, large bool, pending []*Entry, patience time.Duration) error {
	var statements []string
	if large {
		statements = append(statements, "LOCK TABLE orders, deliveries, payments, items IN ROW EXCLUSIVE MODE")
	}
	switch deletes := func(e *Entry) bool { return e.Order == nil }; {
	case w.opts.Versions.Deletions && slices.ContainsFunc(pending, deletes):
		statements = append(statements, "LOCK TABLE order_tombstones IN EXCLUSIVE MODE")
	case w.opts.Versions.Deletions:
		statements = append(statements, "LOCK TABLE order_tombstones IN ROW SHARE MODE")
	case len(statements) == 0:
		return nil
	}
	if patience != forever {
		statements = slices.Insert(statements, 0, fmt.Sprintf("SET LOCAL lock_timeout = %d", patience.Milliseconds()))
	}
	if _, err := tx.ExecContext(ctx, strings.Join(statements, "; ")); err != nil {
		return fmt.Errorf("lock the tables: %w", err)
	}
	return nil
}

// Statements on arrays, one value for each order. The orders are locked first and in the
// order of their uids, so that two transactions which change the same orders cannot
// deadlock. Somebody who changed one of them meanwhile makes the transaction begin anew.
const (
	lockOrders = `SELECT count(*) FROM unnest($1::text[]) AS wanted (uid)
		CROSS JOIN LATERAL (SELECT FROM orders WHERE order_uid = wanted.uid FOR UPDATE) AS o`
	keepVersions = `WITH kept AS (
			INSERT INTO order_versions (order_uid, ` + stampColumns + `, content, version, since)
			SELECT old.*, 1 + coalesce((SELECT max(version) FROM order_versions AS v WHERE v.order_uid = old.uid), 0),
			       (SELECT coalesce(updated_at, stored_at) FROM orders WHERE order_uid = old.uid)
			  FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::integer[], $5::bigint[], $6::bytea[]) AS old (uid)
			RETURNING order_uid, version)
		DELETE FROM order_versions AS v USING kept WHERE v.order_uid = kept.order_uid AND v.version <= kept.version - $7::bigint`
	raiseStamps = `UPDATE orders SET (` + stampColumns + `, content_hash) = (new.version, new.time, new.partition, new.at, new.hash)
		FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::integer[], $5::bigint[], $6::bytea[]) AS new (uid, version, time, partition, at, hash)
		WHERE order_uid = new.uid`
	deleteOrders = `DELETE FROM orders WHERE order_uid = ANY ($1::text[])`
	remember     = `INSERT INTO order_tombstones (order_uid, ` + stampColumns + `)
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::integer[], $5::bigint[])
		ON CONFLICT (order_uid) DO UPDATE SET (` + stampColumns + `, deleted_at) =
			(excluded.record_version, excluded.record_time, excluded.record_partition, excluded.record_offset, now())`
	forget = `DELETE FROM order_tombstones WHERE order_uid = ANY ($1::text[])`
)

// changes are the arguments of the statements.
type changes struct {
	locked, deleted, forgotten []string
	upserts                    orderdb.Upsert
	previous, raised           stamped // with compressed JSON, and with hashes
	remembered                 stamped
}

// stamped are orders with their stamps as arrays, and with something else.
type stamped struct {
	uids       []string
	versions   []*int64
	times      []*time.Time
	partitions []*int32
	offsets    []*int64
	with       [][]byte
}

func (s *stamped) add(uid string, stamp *model.Stamp, with []byte) {
	var row orderdb.Order
	row.Stamp(stamp)
	s.uids, s.with = append(s.uids, uid), append(s.with, with)
	s.versions, s.times = append(s.versions, row.RecordVersion), append(s.times, row.RecordTime)
	s.partitions, s.offsets = append(s.partitions, row.RecordPartition), append(s.offsets, row.RecordOffset)
}

func (s *stamped) arguments(further ...any) []any {
	return append([]any{s.uids, s.versions, s.times, s.partitions, s.offsets}, further...)
}

// change replaces and deletes orders, keeps what they were, and moves stamps, as decided. It
// returns the entries that it wrote. It is one round trip, and none if there is nothing to do.
func (w *Writer) change(ctx context.Context, conn bun.Conn, decided []decision, fresh []*Entry, o *opened) (written []*Entry, err error) {
	slices.SortFunc(decided, func(a, b decision) int { return cmp.Compare(a.entry.UID(), b.entry.UID()) })
	var c changes
	for _, d := range decided {
		if !d.writes {
			continue
		}
		written = append(written, d.entry)
		d.entry.xid, d.entry.tried = o.xid, d.outcome
		if err := c.add(d, o.stored[d.entry.UID()]); err != nil {
			return nil, err
		}
	}
	for _, e := range fresh {
		if o.stored[e.UID()].remembered {
			c.forgotten = append(c.forgotten, e.UID())
		}
	}
	batch := c.batch(w.opts.Versions.Kept)
	if batch.Len() == 0 {
		return nil, nil
	}
	err = bundb.Traced(ctx, "change orders", func(ctx context.Context) error {
		return bundb.Raw(conn, func(pg *pgx.Conn) error { return pg.SendBatch(ctx, batch).Close() })
	})
	if err != nil {
		return nil, fmt.Errorf("change orders: %w", err)
	}
	return written, nil
}

func (c *changes) add(d decision, stored row) error {
	e, uid := d.entry, d.entry.UID()
	if stored.xid != "" {
		c.locked = append(c.locked, uid)
	}
	if d.previous != nil {
		content, err := orderdb.CompressVersion(model.AppendCanonical(nil, d.previous))
		if err != nil {
			return err
		}
		c.previous.add(uid, stored.stamp, content)
	}
	switch {
	case e.Order == nil:
		c.remembered.add(uid, e.Stamp, nil)
		if d.previous != nil {
			c.deleted = append(c.deleted, uid)
		}
		return nil
	case d.outcome == Replaced:
		c.upserts.Add(e.Order, e.ContentHash(), e.Stamp)
	case e.Has(stored.hash): // which says whether unknown fields were kept
		c.raised.add(uid, e.Stamp, stored.hash)
	default:
		c.raised.add(uid, e.Stamp, e.ContentHash())
	}
	if stored.remembered {
		c.forgotten = append(c.forgotten, uid)
	}
	return nil
}

func (c *changes) batch(kept int) *pgx.Batch {
	batch := &pgx.Batch{}
	if len(c.locked) > 0 {
		batch.Queue(lockOrders, c.locked)
	}
	if p := &c.previous; len(p.uids) > 0 {
		batch.Queue(keepVersions, p.arguments(p.with, kept)...)
	}
	if c.upserts.Len() > 0 {
		c.upserts.Queue(batch)
	}
	if r := &c.raised; len(r.uids) > 0 {
		batch.Queue(raiseStamps, r.arguments(r.with)...)
	}
	if len(c.deleted) > 0 {
		batch.Queue(deleteOrders, c.deleted)
	}
	if len(c.remembered.uids) > 0 {
		batch.Queue(remember, c.remembered.arguments()...)
	}
	if len(c.forgotten) > 0 {
		batch.Queue(forget, c.forgotten)
	}
	return batch
}
