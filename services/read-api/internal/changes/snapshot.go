package changes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/model"
)

const (
	// A snapshot's locks are asked for on several connections. A TRUNCATE that
	// waits between them would make a circle that the server can't see.
	snapshotLockTimeout = `SET LOCAL lock_timeout = '3s'`
	snapshotStatement   = `SET LOCAL statement_timeout = 0`
	snapshotMemory      = `SET LOCAL work_mem = '64MB'` // for the sort by order_uid
	exportSnapshot      = `SELECT pg_export_snapshot(),
		(SELECT greatest(reltuples, 0)::bigint::text FROM pg_class WHERE oid = 'orders'::regclass)`
	// The n-th newest stamp: at least n orders have it or a newer one.
	findCut      = `SELECT change_xid::text FROM orders ORDER BY change_xid DESC OFFSET %d LIMIT 1`
	declareAfter = `DECLARE changed NO SCROLL CURSOR FOR SELECT %s FROM orders WHERE change_xid >= '%d' ORDER BY change_xid`
)

// Progress is told how many orders a snapshot has given so far, and about how
// many there are (0: unknown).
type Progress func(done, expected int64)

// Snapshot gives sink all orders as of one moment, and returns the position to
// tail from. With Options.Bytes it gives those that changed last. After an error
// sink has some of them.
func (s *Source) Snapshot(ctx context.Context, sink Sink, progress Progress) (Position, error) {
	if err := s.connect(ctx); err != nil {
		return Position{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallTimeout, func() {
		cancel(fmt.Errorf("no order arrived for %v", stallTimeout))
	})
	defer stall.Stop()
	alive := func(done, expected int64) {
		stall.Reset(stallTimeout)
		progress(done, expected)
	}

	read := s.snapshotAll
	if s.options.Bytes > 0 {
		read = s.snapshotNewest
	}
	position, err := read(ctx, sink, alive)
	if err != nil {
		s.Close()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = errors.Join(cause, err)
		}
		return position, fmt.Errorf("read all orders: %w", err)
	}
	return position, s.end(ctx)
}

// begin opens the snapshot's transaction.
func (s *Source) begin(ctx context.Context, last query) (*answers, Position, error) {
	answers := s.ask(ctx, query{sql: beginRead}, query{sql: snapshotLockTimeout}, query{sql: snapshotStatement},
		query{sql: snapshotMemory}, query{sql: lockTables}, query{sql: readState}, last)
	answers.skip(5)
	position, err := answers.state(s.identity)
	return answers, position, err
}

// snapshotNewest reads, through one connection, the orders that changed last, in
// the order in which they did.
func (s *Source) snapshotNewest(ctx context.Context, sink Sink, progress Progress) (Position, error) {
	most := s.options.Bytes / max(s.options.MinRecordBytes, 1)
	answers, position, err := s.begin(ctx, query{sql: fmt.Sprintf(findCut, most)})
	defer answers.drop()
	if err != nil {
		return position, err
	}
	var cut uint64
	err = each(answers, &s.row, decodeUID, func(text string) {
		cut, err = strconv.ParseUint(text, 10, 64)
		sink.LeaveOut()
	})
	if err != nil {
		return position, err
	}
	if err := answers.close(); err != nil {
		return position, err
	}
	first := s.ask(ctx, query{sql: fmt.Sprintf(declareAfter, ordersColumns, cut)}, query{sql: fetchPage})
	defer first.drop()
	first.skip(1)
	page, err := collect(first, &s.row, decodeOrder)
	if err != nil {
		return position, err
	}
	if err := first.close(); err != nil {
		return position, err
	}
	counted := &countingSink{Sink: sink, progress: progress}
	_, err = s.pages(ctx, page, counted)
	return position, err
}

// countingSink tells of progress a page at a time.
type countingSink struct {
	Sink
	progress Progress
	done     int64
}

func (c *countingSink) Put(uid string, canonical []byte) bool {
	if c.done++; c.done%pageOrders == 0 {
		c.progress(c.done, 0)
	}
	return c.Sink.Put(uid, canonical)
}

// snapshotAll reads the four tables at once, each through a connection of its
// own under one snapshot and sorted by order_uid, and merges them here: the
// memory that it takes doesn't depend on the number of orders, and no table is
// searched by key.
func (s *Source) snapshotAll(ctx context.Context, sink Sink, progress Progress) (Position, error) {
	answers, position, err := s.begin(ctx, query{sql: exportSnapshot})
	defer answers.drop()
	if err != nil {
		return position, err
	}
	exported, err := collect(answers, &s.row, func(r *row) [2]string { return [2]string{r.text(), r.text()} })
	if err != nil {
		return position, err
	}
	if err := answers.close(); err != nil {
		return position, err
	}
	expected, err := strconv.ParseInt(exported[0][1], 10, 64)
	if err != nil {
		return position, err
	}

	group, ctx := errgroup.WithContext(ctx)
	orders := follow(ctx, group, s.conn, "orders", ordersColumns, "order_uid", decodeOrder)
	deliveries := join(ctx, group, s, exported[0][0], "deliveries", deliveriesColumns, "order_uid", decodeDelivery)
	payments := join(ctx, group, s, exported[0][0], "payments", paymentsColumns, "order_uid", decodePayment)
	items := join(ctx, group, s, exported[0][0], "items", itemsColumns, "order_uid, position", decodeItem)

	whole := make(chan []part[*model.Order], 2)
	group.Go(func() error {
		defer close(whole)
		return merge(ctx, orders, deliveries, payments, items, whole)
	})
	encode(ctx, group, whole, sink, func(done int64) { progress(done, expected) })
	return position, group.Wait()
}

// streamRows is how many rows travel between goroutines at a time.
const streamRows = 256

// stream is a table's rows in order of order_uid.
type stream[T any] struct {
	rows  chan []part[T]
	batch []part[T]
}

// head is the next row, nil after the last one.
func (s *stream[T]) head(ctx context.Context) *part[T] {
	for len(s.batch) == 0 {
		select {
		case batch, ok := <-s.rows:
			if !ok {
				return nil
			}
			s.batch = batch
		case <-ctx.Done():
			return nil
		}
	}
	return &s.batch[0]
}

// take hands use the rows of one order, and drops those of smaller uids, which
// have none.
func (s *stream[T]) take(ctx context.Context, uid string, use func(T)) {
	for row := s.head(ctx); row != nil && row.uid <= uid; row = s.head(ctx) {
		if row.uid == uid {
			use(row.value)
		}
		s.batch = s.batch[1:]
	}
}

// join streams a table through a further connection under the same snapshot.
func join[T any](ctx context.Context, group *errgroup.Group, s *Source, snapshot, table, columns, order string, decode decoder[part[T]]) *stream[T] {
	out := &stream[T]{rows: make(chan []part[T], 2)}
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
		err = conn.Exec(ctx, beginRead+`;`+snapshotLockTimeout+`;`+snapshotStatement+`;`+snapshotMemory+
			`;SET TRANSACTION SNAPSHOT '`+snapshot+`'`).Close()
		if err != nil {
			return fmt.Errorf("share the snapshot: %w", err)
		}
		return pour(ctx, conn, table, columns, order, decode, out.rows)
	})
	return out
}

// follow streams a table through the connection that has the snapshot already.
func follow[T any](ctx context.Context, group *errgroup.Group, conn *pgconn.PgConn, table, columns, order string, decode decoder[part[T]]) *stream[T] {
	out := &stream[T]{rows: make(chan []part[T], 2)}
	group.Go(func() error {
		defer close(out.rows)
		return pour(ctx, conn, table, columns, order, decode, out.rows)
	})
	return out
}

func pour[T any](ctx context.Context, conn *pgconn.PgConn, table, columns, order string, decode decoder[part[T]], out chan<- []part[T]) error {
	sql := fmt.Sprintf(`SELECT %s FROM %s ORDER BY %s`, columns, table, order)
	rows := conn.ExecParams(ctx, sql, nil, nil, nil, []int16{pgtype.BinaryFormatCode})
	var r row
	batch := make([]part[T], 0, streamRows)
	send := func() error {
		select {
		case out <- batch:
			batch = make([]part[T], 0, streamRows)
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var err error
	for err == nil && rows.NextRow() {
		r.load(rows.Values())
		if batch = append(batch, decode(&r)); len(batch) == streamRows {
			err = send()
		}
	}
	if _, closeErr := rows.Close(); closeErr != nil {
		return errors.Join(err, fmt.Errorf("table %s: %w", table, closeErr))
	}
	if err == nil && len(batch) > 0 {
		err = send()
	}
	return err
}

// merge gives orders their parts. A part whose stream ended early is missing in
// its orders: that stream's error then fails the snapshot.
func merge(ctx context.Context, orders *stream[*model.Order], deliveries *stream[*model.Delivery],
	payments *stream[*model.Payment], items *stream[model.Item], out chan<- []part[*model.Order],
) error {
	for head := orders.head(ctx); head != nil; head = orders.head(ctx) {
		batch := orders.batch
		for _, one := range batch {
			o := one.value
			deliveries.take(ctx, one.uid, func(d *model.Delivery) { o.Delivery = d })
			payments.take(ctx, one.uid, func(p *model.Payment) { o.Payment = p })
			items.take(ctx, one.uid, func(i model.Item) { o.Items = append(o.Items, i) })
		}
		orders.batch = nil
		select {
		case out <- batch:
		case <-ctx.Done():
		}
	}
	// Where the reading was given up, the rest must not look like the end.
	return context.Cause(ctx)
}
