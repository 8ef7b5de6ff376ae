package rig

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// fillConns is how many connections copy orders.
const fillConns = 2

// Fill fills a database quickly: with orders, and then with copies of them under
// other uids. Each step ends with VACUUM and ANALYZE.
type Fill struct {
	orders   *Orders
	database string
	have     int
	copies   int // made so far, the last one maybe in part
}

// NewFill prepares to fill a database with the schema and no orders, whose
// address is the superuser's.
func NewFill(orders *Orders, database string) *Fill { return &Fill{orders: orders, database: database} }

// To goes on until the database holds count orders of this Fill's: at least
// those that there are to copy.
func (f *Fill) To(ctx context.Context, count int) error {
	if f.have == 0 {
		if err := f.orders.Copy(ctx, f.database, CopyOptions{Conns: fillConns}); err != nil {
			return err
		}
		f.have = f.orders.Count
		if err := f.execute(ctx, keepOriginals()...); err != nil {
			return fmt.Errorf("keep orders to copy: %w", err)
		}
	}
	if err := f.clone(ctx, count); err != nil {
		return fmt.Errorf("copy stored orders: %w", err)
	}
	return f.execute(ctx, "VACUUM (ANALYZE)")
}

// clone shares the copies out among connections.
func (f *Fill) clone(ctx context.Context, count int) error {
	var sizes []int
	for have := f.have; have < count; have += f.orders.Count {
		sizes = append(sizes, min(f.orders.Count, count-have))
	}
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range fillConns {
		group.Go(func() error {
			conn, err := f.connect(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for i := int(next.Add(1)) - 1; i < len(sizes); i = int(next.Add(1)) - 1 {
				if err := clone(ctx, conn, f.copies+1+i, sizes[i], f.orders.Count); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	f.have, f.copies = max(f.have, count), f.copies+len(sizes)
	return nil
}

// connect opens a connection without triggers and foreign keys: the copies are
// whole by construction.
func (f *Fill) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, f.database)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "SET session_replication_role = replica")
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

func (f *Fill) execute(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, f.database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// keepOriginals sets aside the orders that are stored, to be copied, where
// nobody else looks.
func keepOriginals() []string {
	statements := []string{"CREATE SCHEMA originals"}
	for _, t := range orderdb.Tables {
		statements = append(statements, "CREATE TABLE originals."+t.Name+" AS TABLE "+t.Name)
	}
	return statements
}

// clone copies so many of the originals, of which there are all, under uids that
// a hash makes of theirs, so that they fall anywhere between the others, as new
// orders do. Their dates go on where the originals' end.
func clone(ctx context.Context, conn *pgx.Conn, number, orders, all int) error {
	for _, t := range orderdb.Tables {
		from := slices.Clone(t.Stored)
		from[0] = fmt.Sprintf("left(md5(order_uid || '%d'), 15) || 'copy'", number)
		if i := slices.Index(from, "date_created"); i >= 0 {
			from[i] = fmt.Sprintf("date_created + %d * interval '30 days'", number)
		}
		some := ""
		if orders < all {
			some = fmt.Sprintf("WHERE order_uid IN (SELECT order_uid FROM originals.orders ORDER BY order_uid LIMIT %d)", orders)
		}
		statement := fmt.Sprintf("INSERT INTO %[1]s (%[2]s) SELECT %[3]s FROM originals.%[1]s %[4]s",
			t.Name, strings.Join(t.Stored, ", "), strings.Join(from, ", "), some)
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
