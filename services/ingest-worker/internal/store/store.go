// Package store writes orders into PostgreSQL: in bulk, each once, and knowing
// what was there already.
package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	pgerr "github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/pgconn"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fault"
)

// Outcome is what became of an entry.
type Outcome int8

// The outcomes. Pending is the zero value: not decided yet.
const (
	Pending   Outcome = iota
	Stored            // its rows are committed
	Duplicate         // the same order was there with the same content
	Conflict          // the same order_uid was there with other content
	Refused           // the database does not take the order, for its content
)

// Entry is one valid order on its way into the tables.
type Entry struct {
	Order *model.Order
	Hash  model.Hash

	Outcome Outcome
	// Differs are the paths in which a Conflict differs from the stored order.
	Differs []string
	// Refusal is the database's word on a Refused order, without values.
	Refusal string

	// xid is the transaction that last tried to insert the order and whose
	// commit was not heard of; "" for none.
	xid string
}

// Store writes entries. It is safe for concurrent use; each transaction takes one
// connection of the pool.
type Store struct {
	db      *bun.DB
	buffers sync.Pool // of *orderdb.CopyIn
	group   group

	// A transaction is given up after timeout, doubled for each in a row that
	// took longer: a database that is slow must get through in the end.
	timeout  time.Duration
	timeouts atomic.Int32 // in a row
	timedOut atomic.Int64 // how long the last one took, see abandoned.go; 0: none

	fresh atomic.Int32 // transactions in a row whose orders were all new, up to freshStreak
}

// maxRaces is how many races in a row are lost before they are taken for what does
// not end by itself. They take about half a second.
const maxRaces = 50

// maxDoublings bounds how long a transaction may take: 32 times the time-out.
const maxDoublings = 5

// New returns a store on a pool opened by pgconn.Open. Timeout bounds a
// transaction, from its begin, so that a connection that died without a word is
// noticed. Calls of Write share a transaction of up to most orders.
func New(db *bun.DB, timeout time.Duration, most int) *Store {
	s := &Store{db: db, timeout: timeout, buffers: sync.Pool{New: func() any { return new(orderdb.CopyIn) }}}
	s.group = group{most: most, run: s.writeTogether}
	return s
}

// Write decides every pending entry, in transactions that it may share with other
// calls. The first entry of an order_uid wins, in the table as in the slice. Where
// one record is the database's problem, the others are stored all the same: the
// batch is halved until that record is alone. What another call's orders wait for
// holds these up for some hundred milliseconds at most.
//
// On an error (the world's or ours, never a record's) the entries that are
// decided stay so, and Write can be called again with the same slice. A commit
// whose answer was lost is found out about then.
func (s *Store) Write(ctx context.Context, entries []*Entry) error {
	if err := s.endAbandoned(ctx); err != nil {
		return err
	}
	if err := s.group.do(ctx, entries); err != nil {
		return err
	}
	return s.writeAlone(ctx, entries)
}

// lockPatience is how long a shared transaction waits for somebody's lock: longer
// than another worker's transaction usually takes.
const lockPatience = 250 * time.Millisecond

// writeTogether tries to decide all entries in one transaction. What one of them
// waits for, or fails by, would hold up the others: only what is in the way of all of
// them is an error, and after anything else each write goes on alone.
func (s *Store) writeTogether(writes []*write) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var entries []*Entry
	for _, w := range writes {
		entries = append(entries, w.entries...)
		defer context.AfterFunc(w.ctx, cancel)() // who is to stop does not wait for the others
	}
	for {
		err := s.round(ctx, pendingOf(entries), lockPatience)
		whose, _ := fault.Of(err)
		switch {
		case whose == fault.Race && s.fresh.Swap(0) == freshStreak:
			continue // an order that was not looked up, and is there after all
		case whose == fault.None, whose == fault.Race, whose == fault.Record, ctx.Err() != nil, fault.Locked(err):
			return nil
		}
		return err
	}
}

// writeAlone decides entries in transactions of their own.
func (s *Store) writeAlone(ctx context.Context, entries []*Entry) error {
	for races := 0; ; {
		pending := pendingOf(entries)
		if len(pending) == 0 {
			return nil
		}
		err := s.round(ctx, pending, forever)
		if err == nil {
			races = 0
			continue
		}
		whose, _ := fault.Of(err)
		if whose == fault.Race {
			if races++; races > maxRaces {
				whose = fault.OfLasting(err)
			}
		}
		switch {
		case whose == fault.Race && s.fresh.Swap(0) == freshStreak:
			// An order that was not looked up, and is there after all.
		case whose == fault.Race:
			// The other transaction has ended or is about to.
			if err := retry.Sleep(ctx, rand.N(20*time.Millisecond)); err != nil {
				return err
			}
		case whose == fault.Record && len(pending) == 1:
			pending[0].Outcome, pending[0].Refusal = Refused, refusal(err)
		case whose == fault.Record:
			half := len(pending) / 2
			if err := s.writeAlone(ctx, pending[:half]); err != nil {
				return err
			}
			if err := s.writeAlone(ctx, pending[half:]); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

func pendingOf(entries []*Entry) []*Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e *Entry) bool { return e.Outcome != Pending })
}

// round is one transaction: look up which orders are there, decide those,
// insert the first entry of each of the others. Entries behind it with the same
// order_uid stay pending, for the next round to compare with what is stored.
// It waits for a lock for as long as locks says.
func (s *Store) round(ctx context.Context, pending []*Entry, locks time.Duration) error {
	patience := s.timeout << min(s.timeouts.Load(), maxDoublings)
	// A connection that was idle is asked whether it lives, which one that died
	// without a word does not answer.
	acquiring, acquired := context.WithTimeout(ctx, patience)
	conn, err := s.db.Conn(acquiring)
	acquired()
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close() }()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = s.transaction(ctx, conn, pending, locks)
	s.note(began, err)
	return err
}

func (s *Store) transaction(ctx context.Context, conn bun.Conn, pending []*Entry, locks time.Duration) error {
	// One snapshot for all statements, so that a stored order that is changed
	// meanwhile is compared as it was at one moment.
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit this does nothing

	var there map[string]row
	var xid string
	err = pgconn.Raw(conn, func(pg *pgx.Conn) (err error) {
		if s.expectsFresh(pending) {
			xid, err = open(ctx, pg, locks)
		} else {
			there, xid, err = lookUp(ctx, pg, pending, locks)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(there) > 0 {
		s.fresh.Store(0)
	}
	decided, unlike, fresh := compare(pending, there)
	if len(unlike) > 0 {
		more, err := compareRows(ctx, tx.Tx, unlike)
		if err != nil {
			return err
		}
		decided = append(decided, more...)
	}
	if len(fresh) > 0 {
		if err := pgconn.Raw(conn, func(pg *pgx.Conn) error { return s.insert(ctx, pg, fresh) }); err != nil {
			return err
		}
		for _, e := range fresh {
			e.xid = xid
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		if streak := s.fresh.Load(); len(there) == 0 && streak < freshStreak {
			s.fresh.CompareAndSwap(streak, streak+1)
		}
	}
	for _, e := range fresh {
		e.Outcome = Stored
	}
	for _, d := range decided {
		d.entry.Outcome, d.entry.Differs = d.outcome, d.differs
	}
	return nil
}

// freshStreak is after how many transactions of new orders alone the next one is
// expected to be such as well.
const freshStreak = 4

// expectsFresh says whether to insert without looking up, which spares the
// database a part of its work. That is right nearly always: records are read
// again only after a restart or a rebalance, and producers seldom repeat
// themselves. Where it is not, the orders' key refuses the batch, and it is looked
// up. An entry whose commit was not heard of always is.
func (s *Store) expectsFresh(pending []*Entry) bool {
	return s.fresh.Load() == freshStreak && !slices.ContainsFunc(pending, func(e *Entry) bool { return e.xid != "" })
}

// decision is taken inside a transaction and counts once that has succeeded.
type decision struct {
	entry   *Entry
	outcome Outcome
	differs []string
}

// row is what the look-up tells of an order that is there.
type row struct {
	hash []byte
	xid  string
}

// opening is the transaction's first business: the insert triggers stand aside,
// since this transaction inserts whole orders, and it rings the bell itself, which
// is heard only if it commits. $1 is a lock_timeout in milliseconds; null: as it is.
const opening = `SELECT set_config('` + orderdb.WholeOrdersSetting + `', 'on', true), pg_notify('` + orderdb.NotifyChannel + `', ''),
	set_config('lock_timeout', coalesce($1, current_setting('lock_timeout')), true), pg_current_xact_id()::text AS xid`

// forever is for locks that are waited for as long as the transaction may take.
const forever time.Duration = 0

// lockTimeout is the argument of the opening.
func lockTimeout(locks time.Duration) *string {
	if locks == forever {
		return nil
	}
	ms := strconv.FormatInt(locks.Milliseconds(), 10)
	return &ms
}

func open(ctx context.Context, pg *pgx.Conn, locks time.Duration) (xid string, err error) {
	if err := pg.QueryRow(ctx, opening, pgx.QueryExecModeExec, lockTimeout(locks)).Scan(nil, nil, nil, &xid); err != nil {
		return "", fmt.Errorf("open the transaction: %w", err)
	}
	return xid, nil
}

// The look-up opens the transaction as well, for no round trip more.
//
// Planned anew each time: a plan made while the table was empty would scan it.
// LATERAL and OFFSET 0 have each uid looked up in the index: for an array of
// thousands the planner rather reads the whole table, time and again, until
// there are millions of orders.
const lookUpQuery = `SELECT once.xid, o.order_uid, o.content_hash, o.change_xid::text
	FROM (` + opening + ` OFFSET 0) AS once
	LEFT JOIN (unnest($2::text[]) AS wanted (uid) CROSS JOIN LATERAL
		(SELECT order_uid, content_hash, change_xid FROM orders WHERE order_uid = wanted.uid OFFSET 0) AS o) ON true`

func lookUp(ctx context.Context, pg *pgx.Conn, pending []*Entry, locks time.Duration) (there map[string]row, xid string, err error) {
	uids := make([]string, len(pending))
	for i, e := range pending {
		uids[i] = e.Order.OrderUID
	}
	rows, err := pg.Query(ctx, lookUpQuery, pgx.QueryExecModeExec, lockTimeout(locks), uids)
	if err != nil {
		return nil, "", fmt.Errorf("look orders up: %w", err)
	}
	defer rows.Close()
	there = map[string]row{}
	for rows.Next() {
		var uid, rowXID *string
		var hash []byte
		if err := rows.Scan(&xid, &uid, &hash, &rowXID); err != nil {
			return nil, "", fmt.Errorf("look orders up: %w", err)
		}
		if uid != nil {
			there[*uid] = row{hash: hash, xid: *rowXID}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("look orders up: %w", err)
	}
	return there, xid, nil
}

// compare sorts the entries into those that the hash decides, those whose order
// is there with another hash or none, and those to insert.
func compare(pending []*Entry, there map[string]row) (decided []decision, unlike, fresh []*Entry) {
	first := make(map[string]*Entry, len(pending))
	for _, e := range pending {
		r, exists := there[e.Order.OrderUID]
		switch {
		case exists && bytes.Equal(r.hash, e.Hash[:]) && e.xid != "" && r.xid == e.xid:
			decided = append(decided, decision{entry: e, outcome: Stored}) // by our commit whose answer was lost
		case exists && bytes.Equal(r.hash, e.Hash[:]):
			decided = append(decided, decision{entry: e, outcome: Duplicate})
		case exists:
			unlike = append(unlike, e)
		case first[e.Order.OrderUID] == nil:
			first[e.Order.OrderUID] = e
			fresh = append(fresh, e)
		}
	}
	return decided, unlike, fresh
}

// compareRows compares entries with the rows as they are now: a row made or
// changed by hand may equal a record whose hash it does not bear.
func compareRows(ctx context.Context, tx *sql.Tx, unlike []*Entry) ([]decision, error) {
	uids := make([]string, 0, len(unlike))
	for _, e := range unlike {
		uids = append(uids, e.Order.OrderUID)
	}
	slices.Sort(uids)
	stored, err := orderdb.Read(ctx, tx, slices.Compact(uids))
	if err != nil {
		return nil, err
	}
	decided := make([]decision, 0, len(unlike))
	for _, e := range unlike {
		s, ok := stored[e.Order.OrderUID]
		if !ok {
			continue // stays pending
		}
		differs := model.Diff(s.Order, e.Order)
		if len(differs) == 0 {
			decided = append(decided, decision{entry: e, outcome: Duplicate})
		} else {
			decided = append(decided, decision{entry: e, outcome: Conflict, differs: differs})
		}
	}
	return decided, nil
}

func (s *Store) insert(ctx context.Context, pg *pgx.Conn, fresh []*Entry) error {
	// Two writers that insert the same orders in one order cannot deadlock.
	slices.SortFunc(fresh, func(a, b *Entry) int { return cmp.Compare(a.Order.OrderUID, b.Order.OrderUID) })
	rows := s.buffers.Get().(*orderdb.CopyIn)
	defer s.buffers.Put(rows)
	rows.Reset()
	for _, e := range fresh {
		rows.Add(e.Order, e.Hash)
	}
	return rows.Send(ctx, pg.PgConn())
}

// refusal is the database's word without what it quotes of the record: only the
// code, the table, column and constraint are ours to show.
func refusal(err error) string {
	var refused *pgerr.PgError
	if !errors.As(err, &refused) {
		return "the database refuses the order"
	}
	text := "the database refuses the order: SQLSTATE " + refused.Code
	for _, part := range [][2]string{{"table", refused.TableName}, {"column", refused.ColumnName}, {"constraint", refused.ConstraintName}} {
		if part[1] != "" {
			text += ", " + part[0] + " " + part[1]
		}
	}
	return text
}
