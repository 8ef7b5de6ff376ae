package changes

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// table is one of the four.
type table int

const (
	ordersTable table = iota
	deliveriesTable
	paymentsTable
	itemsTable
	tableCount
)

var tables = [tableCount]struct{ name, columns, order string }{
	{"orders", ordersColumns, "order_uid"},
	{"deliveries", deliveriesColumns, "order_uid"},
	{"payments", paymentsColumns, "order_uid"},
	{"items", itemsColumns, "order_uid, position"},
}

const (
	// scanSettings have the server read a table from its beginning to its end, by
	// one process: others would mix the rows up. work_mem is for sorting.
	scanSettings = `SET LOCAL enable_seqscan = on; SET LOCAL synchronize_seqscans = off;
		SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; SET LOCAL work_mem = '64MB'`
	// scanRows is how many rows travel between goroutines at a time, and scanBatches
	// how many such batches a scan may be ahead: few, so that rows are still in the
	// processor's cache when they are used.
	scanRows    = 128
	scanBatches = 2
)

// batch is rows in COPY's binary form, end to end.
type batch struct {
	data []byte
	ends []int // where each row ends
}

// scan is a table's rows as they come. Batches are to be given back.
type scan struct{ rows, free chan *batch }

// scan reads a table through a further connection under the same snapshot.
func (s *Source) scan(ctx context.Context, group *errgroup.Group, snapshot string, t table, sorted bool) *scan {
	out := &scan{rows: make(chan *batch, scanBatches), free: make(chan *batch, scanBatches+2)}
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
		query := `SELECT ` + tables[t].columns + ` FROM ` + tables[t].name
		if sorted {
			query += ` ORDER BY ` + tables[t].order
		}
		to := &copyReader{ctx: ctx, out: out}
		_, err = conn.CopyTo(ctx, to, `COPY (`+query+`) TO STDOUT (FORMAT binary)`)
		if err == nil {
			err = to.flush()
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", tables[t].name, err)
		}
		return nil
	})
	return out
}

// copyReader gathers what COPY sends: a header, then rows, then a trailer, each
// row in a message of its own.
type copyReader struct {
	ctx     context.Context
	out     *scan
	current *batch
	begun   bool
}

var (
	copySignature = []byte("PGCOPY\n\xff\r\n\x00")
	copyTrailer   = []byte("\xff\xff")
)

// Write takes a message.
func (c *copyReader) Write(message []byte) (int, error) {
	row := message
	if !c.begun {
		rest, ok := bytes.CutPrefix(row, copySignature)
		if !ok || len(rest) < 8 {
			return 0, errors.New("the server's COPY does not begin as it should")
		}
		extension := binary.BigEndian.Uint32(rest[4:])
		row, c.begun = rest[8+extension:], true
	}
	if len(row) == 0 || bytes.Equal(row, copyTrailer) {
		return len(message), nil
	}
	if c.current == nil {
		select {
		case c.current = <-c.out.free:
			c.current.data, c.current.ends = c.current.data[:0], c.current.ends[:0]
		default:
			c.current = &batch{ends: make([]int, 0, scanRows)}
		}
	}
	c.current.data = append(c.current.data, row...)
	c.current.ends = append(c.current.ends, len(c.current.data))
	if len(c.current.ends) == scanRows {
		return len(message), c.flush()
	}
	return len(message), nil
}

func (c *copyReader) flush() error {
	if c.current == nil {
		return nil
	}
	select {
	case c.out.rows <- c.current:
		c.current = nil
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}
