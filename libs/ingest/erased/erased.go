// Package erased reads and writes the table of erased orders.
//
// A writer of orders knows the table's content as of a version, and each of its
// transactions compares the version with the present one ([Version]). Who erases adds rows
// and changes the version ([Add]), then waits for the transactions that may not have seen
// it ([Await]), and then removes the orders. So no order that was in flight survives.
package erased

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// lock is the advisory lock that a transaction holds in shared mode while it writes orders.
const lock = "1869767781, 2" // "orde"

// Version is an expression of the table's version. It locks first, so that Await waits for
// a transaction that has read an older version.
const Version = `CASE WHEN pg_advisory_xact_lock_shared(` + lock + `)::text IS NOT NULL THEN ` + version + ` END`

// version is 0 until the first erasure, and noTable on the last release's schema, where
// nothing was ever erased: so a transaction after a migration reads the table, too. The
// function costs less than a query of last_value.
const version = `CASE WHEN to_regclass('erasures_version') IS NULL THEN -1 ELSE coalesce(pg_sequence_last_value(to_regclass('erasures_version')), 0) END`

const noTable = -1

// Known is what the table had at a version. A nil Known is of no version.
type Known struct {
	version int64
	set     map[erasure.HMAC]struct{}
	key     *erasure.Key
}

// Is tells whether this is the table's content at a version.
func (k *Known) Is(version int64) bool { return k != nil && k.version == version }

// Has tells whether an order was erased. While none was, it costs nothing.
func (k *Known) Has(uid string) bool {
	if k == nil || len(k.set) == 0 {
		return false
	}
	_, has := k.set[k.key.Of(uid)]
	return has
}

// HasAny tells whether any of some orders was erased.
func (k *Known) HasAny(uids []string) bool { return slices.ContainsFunc(uids, k.Has) }

// HasAll tells whether all orders that were erased for another are erased here, too.
func (k *Known) HasAll(other *Known) bool {
	if other != nil {
		for h := range other.set {
			if _, has := k.set[h]; !has {
				return false
			}
		}
	}
	return true
}

// Empty tells whether no order was erased.
func (k *Known) Empty() bool { return k == nil || len(k.set) == 0 }

// Load reads the table. The error is of the key if HMACs were made with another one.
func Load(ctx context.Context, db bun.IConn, key *erasure.Key) (*Known, error) {
	k := &Known{set: map[erasure.HMAC]struct{}{}, key: key}
	var err error
	if k.version, err = Current(ctx, db); err != nil || k.version == noTable { // first: what comes meanwhile has another one
		return k, err
	}
	var rows []orderdb.Erasure
	if err := mapper.NewSelect().Conn(db).Model(&rows).Column("hmac", "key_id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	for _, row := range rows {
		if err := key.Check(row.KeyID); err != nil {
			return nil, err
		}
		k.set[erasure.HMAC(row.HMAC)] = struct{}{}
	}
	return k, nil
}

// Current is the table's version.
func Current(ctx context.Context, db bun.IConn) (current int64, err error) {
	if err = mapper.NewSelect().Conn(db).ColumnExpr(version).Scan(ctx, &current); err != nil {
		err = fmt.Errorf("read the version of erasures: %w", err)
	}
	return current, err
}

// mapper builds queries; it has no connection of its own.
var mapper = bun.NewDB(nil, pgdialect.New())

// All returns the HMACs of the erased orders, in no order.
func (k *Known) All() []erasure.HMAC { return slices.Collect(maps.Keys(k.set)) }

// Missing returns the rows that the table did not have.
func (k *Known) Missing(rows []orderdb.Erasure) (missing []orderdb.Erasure) {
	for _, row := range rows {
		if _, has := k.set[erasure.HMAC(row.HMAC)]; !has {
			missing = append(missing, row)
		}
	}
	return missing
}

// Add adds rows that the table may have already, and changes its version. It can be
// repeated.
func Add(ctx context.Context, db *bun.DB, rows []orderdb.Erasure) error {
	for some := range slices.Chunk(rows, chunk) {
		if _, err := db.NewInsert().Model(&some).On("CONFLICT DO NOTHING").Exec(ctx); err != nil {
			return fmt.Errorf("add erasures: %w", err)
		}
	}
	// Random: no other database, and no earlier state of this one, has it.
	if _, err := db.ExecContext(ctx, `SELECT setval('erasures_version', ?)`, 2+rand.Int64N(math.MaxInt64-2)); err != nil {
		return fmt.Errorf("change the version of erasures: %w", err)
	}
	return nil
}

// Await waits for the transactions of writers that may have begun before the version
// changed.
func Await(ctx context.Context, db *bun.DB) error {
	for {
		// Writers that come later wait behind this, so it gives up and begins anew.
		_, err := db.ExecContext(ctx, `SELECT set_config('lock_timeout', '2s', true), pg_advisory_xact_lock(`+lock+`)`)
		if !errclass.IsLockTimeout(err) {
			return err
		}
	}
}

// chunk is how many orders are looked at, or removed, at a time.
const chunk = 5000

// Remove deletes orders, with their parts and all that is kept of them, and returns how many
// there were.
func Remove(ctx context.Context, db *bun.DB, uids []string) (removed int64, err error) {
	for some := range slices.Chunk(uids, chunk) {
		result, err := db.NewDelete().Model((*orderdb.Order)(nil)).Where("order_uid = ANY (?::text[])", pgdialect.Array(some)).Exec(ctx)
		if err != nil {
			return removed, fmt.Errorf("delete orders: %w", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return removed, err
		}
		removed += n
		if err := orderdb.Forget(ctx, db, some); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// Sweep deletes all orders that were erased, and returns how many there were. It reads the
// uids of all orders, and of those of which something is kept, in steps of up to patience.
func Sweep(ctx context.Context, db *bun.DB, known *Known, patience time.Duration) (removed int64, err error) {
	step := func(do func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return do(ctx)
	}
	var tables []string
	err = step(func(ctx context.Context) (err error) {
		tables, err = orderdb.KeptTables(ctx, db)
		return err
	})
	for _, table := range tables {
		for after, more := "", true; more && err == nil; {
			err = step(func(ctx context.Context) error {
				var uids []string
				err := db.NewRaw("SELECT DISTINCT order_uid FROM ? WHERE order_uid > ? ORDER BY order_uid LIMIT ?", bun.Ident(table), after, chunk).Scan(ctx, &uids)
				if err != nil {
					return fmt.Errorf("look for erased orders: %w", err)
				}
				if more = len(uids) > 0; more {
					after = uids[len(uids)-1]
				}
				n, err := Remove(ctx, db, slices.DeleteFunc(uids, func(uid string) bool { return !known.Has(uid) }))
				removed += n
				return err
			})
		}
	}
	return removed, err
}
