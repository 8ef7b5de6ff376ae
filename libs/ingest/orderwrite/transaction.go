package orderwrite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// columns returns the columns that are not there yet. It looks as long as there are such:
// they come while the writer runs.
func (w *Writer) columns(ctx context.Context, conn bun.Conn) (absent []string, err error) {
	if known := w.absent.Load(); known != nil && len(*known) == 0 {
		return nil, nil
	}
	if absent, err = orderdb.Absent(ctx, conn); err == nil {
		w.absent.Store(&absent)
	}
	if w.opts.Versions.on() && len(absent) > 0 {
		return nil, errors.New("versions of orders need the tables of this release: run `orderctl migrate`")
	}
	return absent, err
}

// transaction looks up which orders are stored already, decides those, and inserts
// the first entry of each other order. Further entries of an order that it writes stay
// pending: the next round compares them with what is stored then. It moves the positions
// of the writes that have no entry left. It waits for a lock for at most locks.
func (w *Writer) transaction(ctx context.Context, conn bun.Conn, writes []*write, locks time.Duration, absent []string) error {
	began := time.Now()
	// One snapshot for all statements: a stored order that is being changed is
	// compared as of one moment.
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit

	pending := pending(writes)
	positions, done := reached(writes, len(pending))
	large := len(pending) >= w.group.sharing.busy // a smaller one would pay more for the locks than for the look-ups
	if err := w.lockTables(ctx, tx.Tx, large, pending, locks); err != nil {
		return err
	}
	lookedUp := pending
	if w.expectsFresh(pending) {
		lookedUp = nil
	}
	o, err := w.open(ctx, tx.Tx, lookedUp, positions, locks)
	if err != nil {
		return err
	}
	known := w.erased.Load()
	if !known.Is(o.erasures) {
		return errErasures
	}
	w.opts.Phase(ctx, PhaseLookUp, time.Since(began))
	if len(o.stored) > 0 {
		w.fresh.Store(0)
	}
	decided, unlike, fresh := w.compare(pending, o.stored, known)
	if len(unlike) > 0 {
		more, err := w.compareRows(ctx, tx.Tx, unlike, o.stored)
		if err != nil {
			return err
		}
		decided = append(decided, more...)
	}
	began = time.Now()
	changed, err := w.change(ctx, conn, decided, fresh, &o)
	if err != nil {
		return err
	}
	if len(fresh) > 0 {
		if large {
			if err := w.skipLookUps(ctx, tx.Tx); err != nil {
				return err
			}
		}
		if err := w.insert(ctx, conn, fresh, absent); err != nil {
			return err
		}
		for _, e := range fresh {
			e.xid, e.tried = o.xid, Stored
		}
		changed = append(changed, fresh...)
	}
	if len(changed) > 0 {
		w.opts.Phase(ctx, PhaseCopy, time.Since(began))
		if err := announce(ctx, tx.Tx, changed); err != nil {
			return err
		}
	}
	if len(changed) > 0 || len(positions) > 0 {
		began = time.Now()
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		w.opts.Phase(ctx, PhaseCommit, time.Since(began))
	}
	for i, p := range positions {
		*p.Transactions = o.transactions[i]
	}
	if streak := w.fresh.Load(); len(fresh) > 0 && len(o.stored) == 0 && streak < freshStreak {
		w.fresh.CompareAndSwap(streak, streak+1)
	}
	for _, one := range done {
		one.position = nil
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
// expected to have only new orders.
const freshStreak = 4

// expectsFresh reports whether to insert without looking up, which saves the database
// a tenth of its work. Only full batches do so, and only after a streak of new orders:
// records are read again only after a restart or a rebalance, and producers seldom
// repeat themselves. If the expectation is wrong, the orders' key refuses the batch,
// which is then looked up; but PostgreSQL logs an ERROR, so smaller batches, where the
// look-up costs little, never risk it. An entry whose commit was not confirmed is
// always looked up.
func (w *Writer) expectsFresh(pending []*Entry) bool {
	return !w.opts.Versions.Deletions && len(pending) >= w.group.sharing.enough && w.fresh.Load() == freshStreak &&
		!slices.ContainsFunc(pending, func(e *Entry) bool { return e.xid != "" })
}
