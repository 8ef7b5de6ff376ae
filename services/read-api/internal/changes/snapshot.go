package changes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/orderdb"
)

const (
	// A snapshot takes its locks on several connections. A TRUNCATE that waits between
	// them would cause a deadlock that the server cannot detect.
	snapshotLockTimeout = `SET LOCAL lock_timeout = '3s'`
	snapshotStatement   = `SET LOCAL statement_timeout = 0`
	// The first connection is idle while the others read. If its reader disappears, the
	// server should notice within a minute: VACUUM and TRUNCATE wait for it.
	snapshotIdle     = `SET LOCAL idle_in_transaction_session_timeout = 0`
	snapshotProbe    = `SET LOCAL tcp_keepalives_idle = 30`
	snapshotInterval = `SET LOCAL tcp_keepalives_interval = 5`
	snapshotProbes   = `SET LOCAL tcp_keepalives_count = 6`
	// takeTurn holds one of two slots until the transaction ends, so that at most two
	// readers of a server relist at a time, however many there are. The class is ours in
	// each database. (Standbys have advisory locks of their own.)
	takeTurn = `SELECT CASE WHEN pg_try_advisory_xact_lock(1869767794, 1) THEN true ELSE pg_try_advisory_xact_lock(1869767794, 2) END`
	// maxDifferent is how many orders of a relist are read again by key, if there is room
	// for their uids.
	maxDifferent   = 10_000
	uidBytes       = 64
	exportSnapshot = `SELECT pg_export_snapshot(),
		(SELECT greatest(reltuples, 0)::bigint::text FROM pg_class WHERE oid = 'orders'::regclass)`
	// The newest stamp. Stamps from beyond the snapshot came with a dump.
	findNewest = `SELECT greatest(
		(SELECT change_xid FROM orders WHERE change_xid < now.xmax ORDER BY change_xid DESC LIMIT 1),
		(SELECT change_xid FROM order_deletions WHERE change_xid < now.xmax ORDER BY change_xid DESC LIMIT 1), '0')
		FROM (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS xmax) now`
	// The n-th newest stamp: at least n orders have it or a newer one.
	findCut     = `SELECT change_xid::text FROM orders ORDER BY change_xid DESC OFFSET %d LIMIT 1`
	whereListed = ` WHERE order_uid = ANY('%s'::text[])`
	whereAfter  = ` WHERE change_xid >= '%d' ORDER BY change_xid`
)

// Progress is called with the number of orders that a snapshot has read so far, and
// about how many there are (0: unknown).
type Progress func(done, expected int64)

// BusyError means that as many other readers relist as may at a time. Try again later.
type BusyError struct{}

func (*BusyError) Error() string { return "waiting for other replicas that read all orders anew" }

// Snapshot gives sink all orders as of one moment, or with Options.Bytes those that
// changed last, and returns the position for Tail. After an error sink has some of them.
// If sink is a Held, this is a relist, which may fail with a *BusyError. Other snapshots
// wait for nobody, but relists wait for them.
func (s *Source) Snapshot(ctx context.Context, sink Sink, progress Progress) (_ Position, err error) {
	if err := s.connect(ctx); err != nil {
		return Position{}, err
	}
	defer func() { s.adjustPatience(err) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{progress: progress, cancel: cancel}
	w.allow(s.patience())
	defer w.stop()

	read := s.snapshotAll
	if s.options.Bytes > 0 {
		read = s.snapshotNewest
	}
	position, err := read(ctx, sink, w)
	if err != nil {
		s.Close()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = errors.Join(cause, err)
		}
		return position, fmt.Errorf("read all orders: %w", err)
	}
	_, err = s.end(ctx)
	return position, err
}

// watch cancels a snapshot when no orders arrive for a while.
type watch struct {
	progress Progress
	cancel   context.CancelCauseFunc
	limit    time.Duration
	timer    *time.Timer
}

// allow sets the longest wait for further orders. It must not run concurrently with
// tell.
func (w *watch) allow(limit time.Duration) {
	w.stop()
	w.limit = limit
	w.timer = time.AfterFunc(limit, func() { w.cancel(&stalledError{limit}) })
}

func (w *watch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// tell records that orders have arrived. It is safe for concurrent use.
func (w *watch) tell(done, expected int64) {
	w.timer.Reset(w.limit)
	w.progress(done, expected)
}

// stalledError means that no orders arrived for too long.
type stalledError struct{ limit time.Duration }

func (e *stalledError) Error() string { return fmt.Sprintf("no order arrived for %v", e.limit) }

// begin opens the snapshot's transaction and reads its state. last is one more query.
func (s *Source) begin(ctx context.Context, relist bool, last query) (*answers, Position, error) {
	answers := s.ask(ctx, query{sql: beginRead}, query{sql: snapshotLockTimeout}, query{sql: snapshotStatement},
		query{sql: snapshotIdle}, query{sql: snapshotProbe}, query{sql: snapshotInterval}, query{sql: snapshotProbes},
		query{sql: lockTables}, query{sql: takeTurn}, query{sql: readState}, query{sql: findNewest}, last)
	answers.skip(8)
	busy := false
	answers.each(func(row orderdb.RawRow) { busy = row[len(row)-1] == 0 })
	if busy && relist {
		return answers, Position{}, &BusyError{}
	}
	position, err := answers.state(s.identity)
	if err != nil {
		return answers, position, err
	}
	answers.each(func(row orderdb.RawRow) { position.Newest = stampOf(row) })
	return answers, position, nil
}

// snapshotNewest reads the orders that changed last through one connection, in the
// order of their changes.
func (s *Source) snapshotNewest(ctx context.Context, sink Sink, w *watch) (Position, error) {
	most := s.options.Bytes / max(s.options.MinRecordBytes, 1)
	_, relist := sink.(Held)
	answers, position, err := s.begin(ctx, relist, query{sql: fmt.Sprintf(findCut, most)})
	defer answers.drop()
	if err != nil {
		return position, err
	}
	var cut uint64
	var bad error
	answers.each(func(row orderdb.RawRow) {
		cut, bad = strconv.ParseUint(uidOf(row), 10, 64)
		sink.LeaveOut()
	})
	if err = errors.Join(answers.close(), bad); err != nil {
		return position, err
	}
	return position, s.give(ctx, fmt.Sprintf(whereAfter, cut), &countingSink{Sink: sink, progress: w.tell})
}

// countingSink reports progress once a page.
type countingSink struct {
	Sink
	progress Progress
	done     int64
}

func (c *countingSink) Put(o Order) bool {
	if c.done++; c.done%pageOrders == 0 {
		c.progress(c.done, 0)
	}
	return c.Sink.Put(o)
}

// snapshotAll reads the four tables concurrently, each through its own connection under
// one snapshot, and joins the rows here.
//
// It reads the tables in physical order, which costs the server least by far. The rows
// of an order mostly lie at about the same place of each table, so few rows wait for
// others. If too many do, it starts again with the tables sorted by order_uid. So its
// memory does not depend on the number of orders.
//
// An order that is joined in physical order may lack rows that come later. A relist must
// not show that, so it reads again by key what is different, or, if that is too much, all
// sorted by order_uid, where orders are whole.
func (s *Source) snapshotAll(ctx context.Context, sink Sink, w *watch) (Position, error) {
	held, relist := sink.(Held)
	answers, position, err := s.begin(ctx, relist, query{sql: exportSnapshot})
	defer answers.drop()
	if err != nil {
		return position, err
	}
	var snapshot string
	var expected int64
	var bad error
	answers.each(func(row orderdb.RawRow) {
		fields := row.Fields()
		snapshot = orderdb.Text(fields.Next())
		expected, bad = strconv.ParseInt(orderdb.Text(fields.Next()), 10, 64)
	})
	if err = errors.Join(answers.close(), bad); err != nil {
		return position, err
	}
	tell := func(done int64) { w.tell(done, expected) }

	waiting, different := s.options.WaitingBytes, &differences{held: held}
	whole := func(o Order) error {
		if relist {
			held.Replace(o)
		} else {
			sink.Put(o)
		}
		return nil
	}
	put := whole
	if relist {
		waiting, put = min(waiting, held.Room()), different.find
		different.most = min(maxDifferent, int(waiting/uidBytes))
	}
	split, err := s.assemble(ctx, snapshot, newJoiner(false, waiting), put, tell)
	if errors.Is(err, errScattered) {
		w.allow(sorting * s.patience())
		different.uids = nil
		split, err = s.assemble(ctx, snapshot, newJoiner(true, waiting), whole, tell)
	}
	if err != nil {
		return position, err
	}
	w.allow(sorting * s.patience())
	return position, s.readListed(ctx, append(split, different.uids...), sink)
}

// differences are the orders that a Held has not, or not in the same state.
type differences struct {
	held Held
	most int
	mu   sync.Mutex
	uids []string
}

func (d *differences) find(o Order) error {
	if d.held.Same(o) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.uids) >= d.most {
		return errScattered
	}
	d.uids = append(d.uids, strings.Clone(o.OrderUID))
	return nil
}

// assemble joins all orders. It returns the uids of orders that put got incomplete or
// not at all, since their rows lay too far apart, or errScattered.
func (s *Source) assemble(ctx context.Context, snapshot string, j *joiner, put func(Order) error, done func(int64)) (split []string, err error) {
	group, ctx := errgroup.WithContext(ctx)
	for t := range tableCount {
		j.scans[t] = s.scan(ctx, group, snapshot, t, j.sorted)
	}
	group.Go(func() error {
		defer close(j.whole)
		var err error
		split, err = j.run(ctx)
		return err
	})
	encode(ctx, group, j, put, done)
	err = group.Wait()
	return split, err
}

// readListed gives sink orders by uid, as the transaction sees them.
func (s *Source) readListed(ctx context.Context, uids []string, sink Sink) error {
	for chunk := range slices.Chunk(uids, pageOrders) {
		list, err := textArray(chunk)
		if err != nil {
			return err
		}
		if err := s.give(ctx, fmt.Sprintf(whereListed, strings.ReplaceAll(string(list), "'", "''")), sink); err != nil {
			return err
		}
	}
	return nil
}

// give reads the orders of a condition into sink.
func (s *Source) give(ctx context.Context, where string, sink Sink) error {
	first := s.ask(ctx, declareChanged(where), query{sql: fetchPage})
	defer first.drop()
	first.skip(1)
	page := first.orders()
	if err := first.close(); err != nil {
		return err
	}
	if _, _, err := s.pages(ctx, page, sink, nil); err != nil {
		return err
	}
	return s.closeCursor(ctx)
}

func (s *Source) closeCursor(ctx context.Context) error {
	_, err := s.conn.Exec(ctx, `CLOSE changed`).ReadAll()
	return err
}
