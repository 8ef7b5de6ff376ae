package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// writer writes orders at the same time as others.
type writer struct {
	entries []*orderwrite.Entry
	done    chan error
}

// entries are of the given orders.
func entries(t *testing.T, records ...[]byte) (all []*orderwrite.Entry) {
	t.Helper()
	codec := model.New(model.Options{})
	for _, record := range records {
		decoded, err := codec.Decode(record)
		require.NoError(t, err)
		all = append(all, &orderwrite.Entry{Order: decoded.Order, Hash: model.ContentHash(model.AppendCanonical(nil, decoded.Order))})
	}
	return all
}

// limits are the batch limits of a worker by default.
var limits = batch.Limits{Busy: 8, Count: 1000, Period: 40 * time.Millisecond}

// newWriter returns a writer whose calls share transactions of up to most orders.
func newWriter(db *bun.DB, most int) *orderwrite.Writer {
	return orderwrite.New(db, orderwrite.Options{Timeout: deadline, MaxOrders: most, Batch: limits})
}

// openWriter returns a worker's writer with a pool of its own.
func (b *bundle) openWriter(limits batch.Limits) *orderwrite.Writer {
	b.t.Helper()
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 4, ApplicationName: "shared"})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = db.Close() })
	return orderwrite.New(db, orderwrite.Options{Timeout: deadline, MaxOrders: 4000, Batch: limits})
}

func (b *bundle) write(s *orderwrite.Writer, all []*orderwrite.Entry) *writer {
	w := &writer{entries: all, done: make(chan error, 1)}
	go func() { w.done <- s.Write(b.ctx, w.entries) }()
	return w
}

// ends waits for a writer, whose orders are all to have an outcome then.
func (b *bundle) ends(w *writer, outcomes ...orderwrite.Outcome) {
	b.t.Helper()
	select {
	case err := <-w.done:
		require.NoError(b.t, err)
	case <-time.After(deadline):
		b.t.Fatal("it does not end")
	}
	for i, outcome := range outcomes {
		require.Equal(b.t, outcome, w.entries[i].Outcome, i)
	}
}

// holding has somebody insert an order and not commit; release ends that.
func (b *bundle) holding(uid string) (release func()) {
	b.t.Helper()
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(b.t, err)
	_, err = tx.ExecContext(b.ctx, insertOrder, []string{uid})
	require.NoError(b.t, err)
	return func() { require.NoError(b.t, tx.Rollback()) }
}

// waits returns once so many writers wait for somebody's lock.
func (b *bundle) waits(writers int) {
	b.t.Helper()
	b.eventually("a writer waits for a lock", func() (bool, string) {
		var n int
		err := b.db.QueryRowContext(b.ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'shared' AND wait_event_type = 'Lock'`).Scan(&n)
		return err == nil && n >= writers, fmt.Sprint(n, err)
	})
}

// Batches of several partitions share a transaction. One of them that waits for
// somebody's lock holds up the others for a moment only, and goes on by itself.
func TestALockHoldsUpItsOwnBatchOnly(t *testing.T) {
	b := setup(t, 1)
	s := b.openWriter(limits)
	release := b.holding("held")
	first := b.write(s, entries(t, order(t, "held", "1")))
	b.waits(1)
	// These two come while the first one's transaction runs, and share the next.
	free := b.write(s, entries(t, order(t, "free1", "1"), order(t, "free2", "1")))
	bound := b.write(s, entries(t, order(t, "bound", "1"), order(t, "held", "2")))
	b.ends(free, orderwrite.Stored, orderwrite.Stored)
	b.waits(2)
	select {
	case <-first.done:
		t.Fatal("the order is there, and nobody committed it")
	case <-bound.done:
		t.Fatal("the order is there, and nobody committed it")
	default:
	}
	release()
	b.ends(first)
	b.ends(bound, orderwrite.Stored)
	require.ElementsMatch(t, []orderwrite.Outcome{orderwrite.Stored, orderwrite.Conflict}, []orderwrite.Outcome{first.entries[0].Outcome, bound.entries[1].Outcome})
	require.Equal(t, 4, b.count("orders"))
}

func TestBatchesThatComeTogetherShareATransaction(t *testing.T) {
	b := setup(t, 1)
	s := b.openWriter(limits)
	b.eventually("two batches share a transaction", func() (bool, string) {
		b.exec(`TRUNCATE orders CASCADE`)
		release := b.holding("held")
		first := b.write(s, entries(t, order(t, "held", "1")))
		b.waits(1)
		one, two := b.write(s, entries(t, order(t, "one", "1"))), b.write(s, entries(t, order(t, "two", "1")))
		b.ends(one, orderwrite.Stored)
		b.ends(two, orderwrite.Stored)
		release()
		b.ends(first, orderwrite.Stored)
		var transactions int
		require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT count(DISTINCT xmin::text) FROM orders WHERE order_uid IN ('one', 'two')`).Scan(&transactions))
		return transactions == 1, ""
	})
}

// An order that the database refuses, or that is stored already, does not affect the
// batches that share a transaction with its own, whether or not orders are looked up.
func TestARefusedOrderAffectsItsOwnBatchOnly(t *testing.T) {
	t.Run("orders are looked up", func(t *testing.T) { testRefusedOrders(t, limits) })
	t.Run("orders are inserted without looking up", func(t *testing.T) { testRefusedOrders(t, batch.Limits{}) })
}

func testRefusedOrders(t *testing.T, limits batch.Limits) {
	t.Helper()
	b := setup(t, 1)
	b.exec(`ALTER TABLE deliveries ADD CONSTRAINT no_such_city CHECK (city <> 'forbidden')`)
	s := b.openWriter(limits)
	for round := range 20 { // without limits, from the fifth on new orders are not looked up
		uid := func(name string) string { return fmt.Sprint(name, "-", round) }
		var good []*writer
		for n := range 3 {
			good = append(good, b.write(s, entries(t, order(t, uid(fmt.Sprint("one", n)), "1"), order(t, uid(fmt.Sprint("two", n)), "1"))))
		}
		faulty, outcome := entries(t, order(t, uid("before"), "1"), order(t, uid("faulty"), "1"), order(t, uid("after"), "1")), orderwrite.Refused
		if round%4 == 3 {
			faulty[1], outcome = entries(t, order(t, "before-0", "1"))[0], orderwrite.Duplicate
		} else {
			faulty[1].Order.Delivery.City = "forbidden"
		}
		b.ends(b.write(s, faulty), orderwrite.Stored, outcome, orderwrite.Stored)
		for _, w := range good {
			b.ends(w, orderwrite.Stored, orderwrite.Stored)
		}
	}
}
