package changes

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// table is an index of orderdb.Tables.
type table int

const (
	ordersTable table = iota
	deliveriesTable
	paymentsTable
	itemsTable
	tableCount = table(len(orderdb.Tables))
	// Conns is how many connections a Source uses at most: its own, and while it reads all
	// orders one for each table.
	Conns = 1 + int(tableCount)
)

const (
	// scanSettings make the server read a table from its beginning to its end in one
	// process, so that rows come in the order of the table. work_mem is for sorting.
	scanSettings = `SET LOCAL enable_seqscan = on; SET LOCAL synchronize_seqscans = off;
		SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; SET LOCAL work_mem = '64MB'`
	// batchBytes is how much of a table passes between goroutines at a time, and
	// scanBatches is how many batches a scan may be ahead. Both are small, so that rows
	// are still in the processor's cache when they are used.
	batchBytes  = 64 << 10
	scanBatches = 2
)

// scan is a table's rows as they come. Batches are to be given back.
type scan struct{ rows, free chan batch }

func newScan() *scan {
	return &scan{rows: make(chan batch, scanBatches), free: make(chan batch, scanBatches+2)}
}

// scan reads a table through a further connection under the same snapshot.
func (s *Source) scan(ctx context.Context, group *errgroup.Group, snapshot string, t table, sorted bool) *scan {
	out := newScan()
	group.Go(func() error {
		defer close(out.rows)
		conn, err := s.open(ctx)
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = conn.Close(ctx) // the transaction has nothing to keep
		}()
		// The settings first: they take no snapshot, so ours can still be set.
		err = conn.Exec(ctx, beginRead+`;`+snapshotLockTimeout+`;`+snapshotStatement+`;`+scanSettings+
			`;SET TRANSACTION SNAPSHOT '`+snapshot+`'`).Close()
		if err != nil {
			return fmt.Errorf("share the snapshot: %w", err)
		}
		described := orderdb.Tables[t]
		order, further := ``, []string(nil)
		if t == ordersTable {
			further = []string{changedAt}
		}
		if sorted {
			order = ` ORDER BY ` + strings.Join(described.Key, ", ")
		}
		rows := &rowWriter{ctx: ctx, out: out}
		if _, err = conn.CopyTo(ctx, rows, `COPY (`+described.SelectOrder(order, further...)+`) TO STDOUT (FORMAT binary)`); err == nil {
			err = rows.flush()
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", described.Name, err)
		}
		return nil
	})
	return out
}
