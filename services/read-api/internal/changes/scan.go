package changes

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
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
	// sentBytes is how much the server sends at a time.
	sentBytes = 8 << 10
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
		conn, err := pgconn.ConnectConfig(ctx, &s.config.Config)
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
		query := selectFrom(described)
		if sorted {
			query += ` ORDER BY ` + strings.Join(described.Key, ", ")
		}
		if err := copyOut(ctx, conn, `COPY (`+query+`) TO STDOUT (FORMAT binary)`, out); err != nil {
			return fmt.Errorf("table %s: %w", described.Name, err)
		}
		return nil
	})
	return out
}

// copyOut runs a COPY and reads the answer directly from the connection: pgconn's
// CopyTo handles each row as a message, which costs more than everything else that is
// done with the row until it is encoded. After an error the connection must be closed.
func copyOut(ctx context.Context, conn *pgconn.PgConn, query string, out *scan) error {
	if err := conn.SyncConn(ctx); err != nil { // nothing of it is in pgconn's own buffers
		return err
	}
	message, err := (&pgproto3.Query{String: query}).Encode(nil)
	if err != nil {
		return err
	}
	direct := conn.Conn()
	stop := context.AfterFunc(ctx, func() { _ = direct.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = direct.Write(message); err == nil {
		err = readCopy(ctx, direct, out)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
