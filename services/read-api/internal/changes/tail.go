package changes

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

const (
	// pageOrders is how many orders are asked for at a time; up to two pages are in
	// hand.
	pageOrders = 500

	beginRead = `BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY`
	// TRUNCATE empties a table for older snapshots too, so it must not happen
	// between our snapshot and our reading: a lock taken before the snapshot prevents
	// it. The lock's time-out is below deadlock_timeout's default of one second, so that
	// in a deadlock this transaction fails first.
	lockTimeout = `SET LOCAL lock_timeout = '500ms'`
	lockTables  = `LOCK TABLE orders, deliveries, payments, items, order_deletions IN ACCESS SHARE MODE`
	// A round whose connection is lost must not block TRUNCATE and VACUUM for long.
	idleTimeout = `SET LOCAL idle_in_transaction_session_timeout = %d`
	// Without statistics the planner takes a third of the table to be new, scans all of
	// it, and has its plans compiled, which takes longer than to execute them. The log's place is asked for after the snapshot was taken,
	// so that it is behind all that the snapshot saw.
	readState = `SELECT pg_current_snapshot()::text, pg_is_in_recovery()::text, s.horizon::text, s.relist_xid::text,
		set_config('enable_seqscan', 'off', true) || set_config('jit', 'off', true),
		` + currentLSN + `, t.now, t.off::text
		FROM order_changes_state s, (` + tablesNow + `) t`
	// Tables that were recreated, and triggers that were disabled and enabled again, may
	// have changes without a stamp. Both show in the catalog: a recreated table has
	// another oid, and the trigger's row a new version. off counts our triggers that are
	// not enabled for the role that they were made for. A worker renews the epoch when the
	// database went back to an earlier state, which has nothing to do with the catalog. The
	// last release's schema has no epoch: as JSON, a row may lack it.
	tablesNow = `SELECT to_hex(hashtextextended((SELECT coalesce(to_jsonb(s)->>'epoch', '') FROM order_changes_state AS s)
			|| string_agg(concat_ws(' ', c.oid, t.oid, t.tgenabled, t.xmin), ',' ORDER BY c.oid, t.oid), 0)) AS now,
		count(*) FILTER (WHERE t.tgenabled::text NOT IN ('A', CASE WHEN t.tgname LIKE 'replica\_%' THEN 'R' ELSE 'O' END)
			AND EXISTS (SELECT FROM pg_proc p WHERE p.oid = t.tgfoid AND p.proname LIKE 'order%')) AS off
		FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
		WHERE c.oid = ANY(ARRAY['orders', 'deliveries', 'payments', 'items', 'order_deletions', 'order_changes_state']::regclass[])`
	// A uid that exists again is no deletion: the order is among the changed.
	readDeletions = `SELECT order_uid, EXISTS (SELECT FROM orders o WHERE o.order_uid = d.order_uid), max(change_xid)
		FROM order_deletions d WHERE %s GROUP BY order_uid`
	ofPage = ` WHERE order_uid = ANY($1)`
	// Only the server's clock is in an age, on a standby also its primary's.
	readAges = `SELECT extract(epoch FROM clock_timestamp() - t)::float8
		FROM unnest($1::text[]) AS x, pg_xact_commit_timestamp(x::xid8::xid) AS t WHERE t IS NOT NULL`
	maxAges = 100
)

// Several statements are sent at once, which bun can't do. So these are texts.
var (
	fetchPage      = fmt.Sprintf(`FETCH %d FROM changed`, pageOrders)
	pageDeliveries = orderdb.Deliveries.SelectOrder(ofPage)
	pagePayments   = orderdb.Payments.SelectOrder(ofPage)
	pageItems      = orderdb.Items.SelectOrder(ofPage + ` ORDER BY order_uid, position`)
)

// declareChanged opens a cursor on the orders that rest names, and tells of each whether it is
// as it was inserted. The last release's schema does not know.
func declareChanged(rest string) query {
	return query{sql: `DECLARE changed NO SCROLL CURSOR FOR ` +
		orderdb.Orders.SelectOrder(rest, changedAt, "stored_at IS NOT NULL AND updated_at IS NULL", "change_xid")}
}

// changedAt is when an order was stored or last changed; -infinity: that was not recorded.
const changedAt = `coalesce(updated_at, stored_at, '-infinity')`

// secondsOf is a timestamptz as PostgreSQL sends it, in seconds since 1970: 0 for -infinity.
func secondsOf(field []byte) uint32 {
	const perSecond, epoch = 1_000_000, 946_684_800 // PostgreSQL counts from 2000
	micros := int64(binary.BigEndian.Uint64(field))
	if micros == math.MinInt64 {
		return 0
	}
	return uint32(min(max(micros/perSecond+epoch, 1), math.MaxUint32))
}

// Round is what one Tail has done.
type Round struct {
	Position Position // as of the round's transaction
	Put      int      // orders that were new or different
	Deleted  int      // orders that were there and are gone
	// TriggersOff is how many of the tables' triggers are not enabled for the role that
	// they are made for, so that some changes are not seen.
	TriggersOff int
	// Ages are the times from the commits of up to 100 transactions to the end of the
	// round, when their changes had been put or deleted. There are none unless
	// Options.Ages is set and the server keeps commit timestamps.
	Ages []time.Duration

	seen uint64
}

// Tail gives sink everything that was committed after from, deletions first, and
// returns the next position. It returns a *RelistError if the changes are no longer
// known, and a *BehindError if a standby has not replayed up to from yet. After any other
// error sink may have some of the changes: repeat Tail from the same position.
func (s *Source) Tail(ctx context.Context, from Position, sink Sink) (Round, error) {
	return s.round(ctx, from, sink, func(context.Context) error { return nil })
}

// Check is Tail, and gives found a sample of the orders as of the same moment: a sink
// that has all changes has these orders already, unless they changed unseen.
func (s *Source) Check(ctx context.Context, from Position, sink Sink, sample Sample, found Sink) (Round, error) {
	return s.round(ctx, from, sink, func(ctx context.Context) error { return s.readSample(ctx, sample, found) })
}

// round runs a tail, and then more in the same transaction.
func (s *Source) round(ctx context.Context, from Position, sink Sink, more func(context.Context) error) (_ Round, err error) {
	if err := s.connect(ctx); err != nil {
		return Round{}, err
	}
	if s.dated {
		s.changed = map[uint64]bool{}
	}
	defer func() {
		s.changed = nil
		s.adjustPatience(err)
	}()
	s.resumeFrom(from)
	round, err := s.tail(ctx, from, sink)
	if err == nil {
		err = more(ctx)
	}
	if err == nil {
		round.Ages, err = s.end(ctx)
	}
	var relist *RelistError
	switch {
	case errors.As(err, &relist):
		s.Close() // the next connection identifies its database again
		return round, err
	case err != nil:
		s.Close() // and with it the transaction
		return Round{}, fmt.Errorf("read the changes: %w", err)
	}
	s.seen.Store(round.seen)
	return round, nil
}

func (s *Source) tail(ctx context.Context, from Position, sink Sink) (Round, error) {
	since := from.durable().since(from.Standby)
	idle := fmt.Sprintf(idleTimeout, 2*s.patience().Milliseconds())
	answers := s.ask(ctx,
		query{sql: beginRead}, query{sql: lockTimeout}, query{sql: idle}, query{sql: lockTables}, query{sql: readState},
		query{sql: fmt.Sprintf(readDeletions, since)},
		declareChanged(` WHERE `+since), query{sql: fetchPage})
	defer answers.drop()

	var round Round
	var err error
	answers.skip(4)
	if round.Position, err = answers.state(s.identity); err != nil {
		return round, err
	}
	round.seen, round.TriggersOff = answers.seen, answers.off
	if reason := from.relistReason(round.Position); reason != "" {
		return round, &RelistError{reason}
	}
	newest, again := from.Newest, map[string]bool{}
	answers.each(func(row orderdb.RawRow) {
		newest = max(newest, stampOf(row))
		if flagOf(row) {
			again[uidOf(row)] = true
		} else if sink.Delete(uidOf(row)) {
			round.Deleted++
			s.changedBy(stampOf(row))
		}
	})
	answers.skip(1)
	first := answers.orders()
	if err := answers.close(); err != nil {
		return round, err
	}
	put, read, err := s.pages(ctx, first, sink, again)
	if err != nil {
		return round, err
	}
	round.Put, round.Position.Newest = put, max(newest, read)
	return round, nil
}

// pages completes the orders of a page with their parts, gives them to sink in the
// page's order, and continues with the cursor's next page until there is none. The
// server already reads the next page while this one is put: a source that is behind
// needs both to catch up. again are the orders that were deleted before; nil: this is no
// Tail, and says of no order that it was inserted.
func (s *Source) pages(ctx context.Context, p page, sink Sink, again map[string]bool) (changed int, newest uint64, err error) {
	var canonical []byte
	parts, err := s.askParts(ctx, p)
	if err != nil {
		return 0, 0, err
	}
	for len(p) > 0 {
		next, err := s.complete(parts, p)
		if err != nil {
			return changed, newest, err
		}
		if parts, err = s.askParts(ctx, next); err != nil {
			return changed, newest, err
		}
		for _, o := range p {
			newest = max(newest, o.stamp)
			canonical = model.AppendCanonical(canonical[:0], o.Order.Order)
			o.Canonical, o.Inserted = canonical, o.Inserted && again != nil && !again[o.OrderUID]
			if sink.Put(o.Order) {
				changed++
				s.changedBy(o.stamp)
			}
		}
		p = next
	}
	return changed, newest, nil
}

// page is some orders with their change_xid, without their parts at first.
type page []stamped

type stamped struct {
	Order
	stamp uint64
}

// askParts asks for the parts of a page's orders, and for the next page; for
// nothing where the page is empty.
func (s *Source) askParts(ctx context.Context, p page) (*answers, error) {
	if len(p) == 0 {
		return nil, nil
	}
	uids := make([]string, len(p))
	for i, o := range p {
		uids[i] = o.OrderUID
	}
	array, err := textArray(uids)
	if err != nil {
		return nil, err
	}
	return s.ask(ctx, query{pageDeliveries, array}, query{pagePayments, array}, query{pageItems, array}, query{sql: fetchPage}), nil
}

var pgTypes = pgtype.NewMap()

// textArray is the text form of a text[].
func textArray(texts []string) ([]byte, error) {
	return pgTypes.Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, texts, nil)
}

// complete gives a page's orders their parts, and returns the next page.
func (s *Source) complete(answers *answers, p page) (next page, err error) {
	defer answers.drop()
	byUID := make(map[string]*model.Order, len(p))
	for _, o := range p {
		byUID[o.OrderUID] = o.Order.Order
	}
	answers.each(func(row orderdb.RawRow) {
		d := &model.Delivery{}
		orderdb.Deliveries.Decode(row, d)
		byUID[uidOf(row)].Delivery = d
	})
	answers.each(func(row orderdb.RawRow) {
		p := &model.Payment{}
		orderdb.Payments.Decode(row, p)
		byUID[uidOf(row)].Payment = p
	})
	answers.each(func(row orderdb.RawRow) {
		o := byUID[uidOf(row)]
		o.Items = append(o.Items, model.Item{})
		orderdb.Items.Decode(row, &o.Items[len(o.Items)-1])
	})
	next = answers.orders()
	return next, answers.close()
}

// changedBy has the age of a transaction measured, unless there are many already.
func (s *Source) changedBy(xid uint64) {
	if s.changed != nil && len(s.changed) < maxAges {
		s.changed[xid] = true
	}
}

// end gives up the transaction; there is nothing to commit in it. It returns how long
// ago the transactions committed whose changes a sink has got.
func (s *Source) end(ctx context.Context) (ages []time.Duration, err error) {
	queries := []query{{sql: `ROLLBACK`}}
	if len(s.changed) > 0 {
		xids := make([]string, 0, len(s.changed))
		for xid := range s.changed {
			xids = append(xids, strconv.FormatUint(xid, 10))
		}
		array, err := textArray(xids)
		if err != nil {
			return nil, err
		}
		queries = []query{{readAges, array}, queries[0]}
	}
	answers := s.ask(ctx, queries...)
	if len(queries) > 1 {
		answers.each(func(row orderdb.RawRow) {
			fields := row.Fields()
			seconds := math.Float64frombits(binary.BigEndian.Uint64(fields.Next()))
			ages = append(ages, time.Duration(seconds*float64(time.Second)))
		})
	}
	return ages, answers.close()
}

// query is a statement, with a text[] as its argument or none.
type query struct {
	sql   string
	array []byte
}

// answers are the results of several queries that were sent at once. After an error
// there are no more rows, and close returns it.
type answers struct {
	source  *Source
	results *pgconn.MultiResultReader
	cancel  context.CancelFunc
	missing error  // the server sent too few answers
	seen    uint64 // after state: up to where in the log the transaction sees everything
	off     int    // after state: Round.TriggersOff
}

// ask sends queries in one go. The answers must be read in order, and closed.
func (s *Source) ask(ctx context.Context, queries ...query) *answers {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	batch := &pgconn.Batch{}
	binary := []int16{pgtype.BinaryFormatCode}
	for _, q := range queries {
		if q.array == nil {
			batch.ExecParams(q.sql, nil, nil, nil, binary)
		} else {
			batch.ExecParams(q.sql, [][]byte{q.array}, []uint32{pgtype.TextArrayOID}, nil, binary)
		}
	}
	return &answers{source: s, results: s.conn.ExecBatch(ctx, batch), cancel: cancel}
}

// close reads what is left, and returns the first error.
func (a *answers) close() error {
	err := a.results.Close()
	a.cancel()
	return cmp.Or(err, a.missing)
}

// drop is close for where an error is known already, or there was none.
func (a *answers) drop() { _ = a.close() }

// skip passes over answers without rows.
func (a *answers) skip(n int) {
	for range n {
		a.each(func(orderdb.RawRow) {})
	}
}

// state reads the answer to readState. A *BehindError says that the transaction
// must not be read from.
func (a *answers) state(identity Identity) (Position, error) {
	now := Position{Identity: identity, Schema: schema}
	found := false
	var bad [6]error
	a.each(func(row orderdb.RawRow) {
		found = true
		fields := row.Fields()
		var v [8][]byte
		for i := range v {
			v[i] = fields.Next()
		}
		now.Standby = string(v[1]) == "true"
		now.Snapshot, bad[0] = ParseTxSnapshot(string(v[0]))
		now.Horizon, bad[1] = strconv.ParseUint(string(v[2]), 10, 64)
		now.Relist, bad[2] = strconv.ParseUint(string(v[3]), 10, 64)
		now.LSN, bad[3] = strconv.ParseUint(string(v[5]), 10, 64)
		now.Tables, bad[4] = strconv.ParseUint(string(v[6]), 16, 64)
		a.off, bad[5] = strconv.Atoi(string(v[7]))
	})
	if err := errors.Join(bad[:]...); err != nil {
		return now, fmt.Errorf("order_changes_state: %w", err)
	}
	if !found {
		return now, cmp.Or(a.close(), errors.New("order_changes_state has no row: somebody deleted it; insert it again with `INSERT INTO order_changes_state DEFAULT VALUES`"))
	}
	var err error
	a.seen, err = a.source.advance(now)
	return now, err
}

// each reads the rows of the next answer. A row may be kept.
func (a *answers) each(use func(orderdb.RawRow)) {
	if !a.results.NextResult() {
		a.missing = errors.New("the server sent fewer answers than it was asked for")
		return
	}
	rows := a.results.ResultReader()
	var row orderdb.RawRow
	for rows.NextRow() {
		row = orderdb.AppendRaw(row[:0], rows.Values())
		use(bytes.Clone(row))
	}
	_, _ = rows.Close() // an error is the results' too
}

// orders reads the next answer as orders, without their parts.
func (a *answers) orders() (p page) {
	a.each(func(row orderdb.RawRow) {
		o := &model.Order{}
		orderdb.Orders.Decode(row, o)
		updated := secondsOf(row[len(row)-25 : len(row)-17])
		p = append(p, stamped{Order{Order: o, Updated: updated, Inserted: flagOf(row)}, stampOf(row)})
	})
	return p
}

// stampOf is a row's change_xid, its last column.
func stampOf(row orderdb.RawRow) uint64 { return binary.BigEndian.Uint64(row[len(row)-8:]) }

// flagOf is the column before it.
func flagOf(row orderdb.RawRow) bool { return row[len(row)-13] == 1 }

// uidOf is a row's first column. It shares the row's memory.
func uidOf(row orderdb.RawRow) string {
	fields := row.Fields()
	return orderdb.Text(fields.Next())
}
