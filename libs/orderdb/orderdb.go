// Package orderdb maps orders to the four tables. Its row models, which embed the
// parts of [model.Order], are the only place that does: columns, codecs for COPY,
// queries and conversions derive from them. The writer and the reader share nothing
// else.
package orderdb

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/model"
)

// NotifyChannel is the channel that every transaction which changes an order
// notifies, with an empty payload.
const NotifyChannel = "orders_changed"

// TraceChannel is the channel on which a writer names each traced order that it has just
// committed: "traceparent order_uid nanoseconds", with the time before the commit. Nothing
// depends on it but spans.
const TraceChannel = "orders_traced"

// WholeOrdersSetting is the session setting that, when 'on', tells the triggers that the
// client inserts whole orders, changes an order's row whenever it changes a part, and
// notifies by itself.
const WholeOrdersSetting = "orderhub.whole_orders"

// Stored is an order as the rows are now.
type Stored struct {
	Order       *model.Order
	ContentHash []byte // of the record as the worker stored it; nil for a row made by hand
	Stamp       *model.Stamp
	Earlier     []*Version // the oldest first; only of ReadWithEarlier
}

// Read returns those of the orders that exist, by uid. A part whose row is missing
// is nil. db may be a pool, a connection or a transaction, of bun or database/sql on
// pgx. The answer is of one moment only inside a REPEATABLE READ transaction, since
// Read takes four statements.
func Read(ctx context.Context, db bun.IConn, uids []string) (map[string]Stored, error) {
	// The literals that bun makes can't hold a NUL or invalid UTF-8, and no row has them.
	uids = slices.DeleteFunc(slices.Clone(uids), func(uid string) bool { return !utf8.ValidString(uid) || strings.ContainsRune(uid, 0) })
	slices.Sort(uids) // neighbours in the index
	uids = slices.Compact(uids)
	rows, err := find[Order](ctx, db, Orders.Table, uids)
	if err != nil || len(rows) == 0 {
		return map[string]Stored{}, err
	}
	deliveries, err := find[Delivery](ctx, db, Deliveries.Table, uids)
	if err != nil {
		return nil, err
	}
	payments, err := find[Payment](ctx, db, Payments.Table, uids)
	if err != nil {
		return nil, err
	}
	items, err := find[Item](ctx, db, Items.Table, uids)
	if err != nil {
		return nil, err
	}
	byUID := make(map[string]*Order, len(rows))
	for _, row := range rows {
		byUID[row.OrderUID] = row
	}
	// Between two transactions a part may be seen whose order was not there yet.
	for _, d := range deliveries {
		if row := byUID[d.OrderUID]; row != nil {
			row.Delivery = d
		}
	}
	for _, p := range payments {
		if row := byUID[p.OrderUID]; row != nil {
			row.Payment = p
		}
	}
	slices.SortFunc(items, func(a, b *Item) int { return cmp.Compare(a.Position, b.Position) })
	for _, item := range items {
		if row := byUID[item.OrderUID]; row != nil {
			row.Items = append(row.Items, item)
		}
	}
	found := make(map[string]Stored, len(rows))
	for uid, row := range byUID {
		found[uid] = Stored{Order: row.ToModel(), ContentHash: row.ContentHash, Stamp: row.stamp()}
	}
	return found, nil
}

// ReadWithEarlier reads orders with their earlier versions.
func ReadWithEarlier(ctx context.Context, db bun.IConn, uids []string) (map[string]Stored, error) {
	found, err := Read(ctx, db, uids)
	if err != nil {
		return nil, err
	}
	earlier, err := Earlier(ctx, db, slices.Collect(maps.Keys(found)))
	for uid, versions := range earlier {
		s := found[uid]
		s.Earlier = versions
		found[uid] = s
	}
	return found, err
}

// find returns a table's rows of the orders.
//
// LATERAL and OFFSET 0 make PostgreSQL look each uid up in the index. For a list of
// thousands the planner would scan the whole table, each time, until that has
// millions of rows. So the parts are not read as bun's relations, which are joins
// and such lists.
func find[R any](ctx context.Context, db bun.IConn, t *Table, uids []string) (rows []*R, err error) {
	err = mapper.NewSelect().Conn(db).Model(&rows).
		ModelTableExpr(`unnest(?::text[]) AS wanted (uid) CROSS JOIN LATERAL (?) AS ?TableAlias`,
			pgdialect.Array(uids), bun.Safe(t.Select(" WHERE order_uid = wanted.uid OFFSET 0"))).
		Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	return rows, nil
}

// Has tells whether there is a table or a sequence, which the last release's schema may lack.
func Has(ctx context.Context, db bun.IConn, name string) (has bool, err error) {
	if err = mapper.NewSelect().Conn(db).ColumnExpr("to_regclass(?) IS NOT NULL", name).Scan(ctx, &has); err != nil {
		err = fmt.Errorf("look for the table %s: %w", name, err)
	}
	return has, err
}

// kept are the tables that keep something of orders whose rows are gone.
var kept = []string{"order_versions", "order_tombstones"}

// KeptTables are the tables that know uids of orders, apart from those of parts.
func KeptTables(ctx context.Context, db bun.IConn) ([]string, error) {
	tables := []string{Orders.Name}
	for _, name := range kept {
		has, err := Has(ctx, db, name)
		if err != nil {
			return nil, err
		}
		if has {
			tables = append(tables, name)
		}
	}
	return tables, nil
}

// Forget deletes what is kept of orders besides their rows: earlier versions, and deletions
// that are remembered.
func Forget(ctx context.Context, db bun.IConn, uids []string) error {
	tables, err := KeptTables(ctx, db)
	if err != nil {
		return err
	}
	for _, table := range tables[1:] {
		if _, err := mapper.NewRaw("DELETE FROM ? WHERE order_uid = ANY (?::text[])", bun.Ident(table), pgdialect.Array(uids)).Conn(db).Exec(ctx); err != nil {
			return fmt.Errorf("delete from %s: %w", table, err)
		}
	}
	return nil
}

// Absent returns the columns with the tag since that the tables lack, as table.column.
func Absent(ctx context.Context, db bun.IConn) (absent []string, err error) {
	for _, t := range Tables {
		if len(t.later) == 0 {
			continue
		}
		var columns []string
		err := mapper.NewSelect().Conn(db).ColumnExpr("?::text || '.' || later", t.Name).TableExpr("unnest(?::text[]) AS later", pgdialect.Array(t.later)).
			Where("NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = ?::regclass AND attname = later AND NOT attisdropped)", t.Name).Scan(ctx, &columns)
		if err != nil {
			return nil, fmt.Errorf("look for the columns of %s: %w", t.Name, err)
		}
		absent = append(absent, columns...)
	}
	return absent, nil
}

// View runs do in a read-only transaction that sees one moment.
func View(ctx context.Context, db *bun.DB, do func(context.Context, bun.Tx) error) error {
	return db.RunInTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, do)
}
