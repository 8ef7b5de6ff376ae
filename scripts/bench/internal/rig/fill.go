package rig

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// fillConns is how many connections copy orders.
const fillConns = 2

// Fill fills a database quickly with orders and copies of them under other uids.
// Each step ends with VACUUM and ANALYZE.
type Fill struct {
	orders   *Orders
	database string
	have     int
	copies   int // made so far; the last one may be partial
}

// NewFill prepares to fill a database that has the schema and no orders. The
// address must be the superuser's.
func NewFill(orders *Orders, database string) *Fill { return &Fill{orders: orders, database: database} }

// To fills the database up to count orders, which must not be fewer than the
// orders to copy.
func (f *Fill) To(ctx context.Context, count int) error {
	if f.have == 0 {
		if err := f.orders.Copy(ctx, f.database, CopyOptions{Conns: fillConns}); err != nil {
			return err
		}
		f.have = f.orders.Count
		if err := Execute(ctx, f.database, keepOriginals()...); err != nil {
			return fmt.Errorf("keep orders to copy: %w", err)
		}
	}
	group, copying := errgroup.WithContext(ctx)
	group.SetLimit(fillConns)
	for ; f.have < count; f.have = min(f.have+f.orders.Count, count) {
		f.copies++
		statements := copyOriginals(f.copies, min(f.orders.Count, count-f.have), f.orders.Count)
		group.Go(func() error { return Execute(copying, f.database, statements...) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("copy stored orders: %w", err)
	}
	return Execute(ctx, f.database, "VACUUM (ANALYZE)")
}

// keepOriginals copies the stored orders into a schema of their own.
func keepOriginals() []string {
	statements := []string{"CREATE SCHEMA originals"}
	for _, t := range orderdb.Tables {
		statements = append(statements, "CREATE TABLE originals."+t.Name+" AS TABLE "+t.Name)
	}
	return statements
}

// copyOriginals copies so many of all originals. The copies' uids are hashes of the
// originals' uids, spread over the whole range as those of new orders are. Their
// dates follow the originals'. Triggers and foreign keys are off: the copies are
// complete by construction.
func copyOriginals(number, orders, all int) []string {
	statements := []string{"SET session_replication_role = replica", "SET " + orderdb.WholeOrdersSetting + " = 'on'"}
	some := ""
	if orders < all {
		some = fmt.Sprintf("WHERE order_uid IN (SELECT order_uid FROM originals.orders ORDER BY order_uid LIMIT %d)", orders)
	}
	for _, t := range orderdb.Tables {
		from := slices.Clone(t.Stored)
		from[0] = fmt.Sprintf("left(md5(order_uid || '%d'), 15) || 'copy'", number)
		if i := slices.Index(from, "date_created"); i >= 0 {
			from[i] = fmt.Sprintf("date_created + %d * interval '30 days'", number)
		}
		statements = append(statements, fmt.Sprintf("INSERT INTO %[1]s (%[2]s) SELECT %[3]s FROM originals.%[1]s %[4]s",
			t.Name, strings.Join(t.Stored, ", "), strings.Join(from, ", "), some))
	}
	return statements
}
