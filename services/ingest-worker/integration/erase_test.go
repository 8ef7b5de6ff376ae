package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/prune"
)

const erasureKey = "0123456789abcdef0123456789abcdef"

func key() *erasure.Key { return erasure.Settings{Key: erasureKey}.NewKey() }

// erase does what 'orderctl erase' does first: it adds an order to the table of erased
// orders, and to the topic.
func (b *bundle) erase(uid string) {
	b.t.Helper()
	h := key().Of(uid)
	db := bun.NewDB(b.db, pgdialect.New())
	require.NoError(b.t, erased.Add(b.ctx, db, []orderdb.Erasure{{HMAC: h[:], KeyID: key().ID()}}))
	b.note(uid)
	require.NoError(b.t, erased.Await(b.ctx, db))
}

// note adds an order to the topic as an erased one.
func (b *bundle) note(uid string) {
	b.t.Helper()
	client, err := dlq.NewClient(kgo.SeedBrokers(b.broker.Addr()))
	require.NoError(b.t, err)
	defer client.Close()
	require.NoError(b.t, dlq.New(client, dlq.Options{Topic: dlqTopic, Erasures: key()}).WriteErased(b.ctx, []erasure.HMAC{key().Of(uid)}, time.Now()))
}

func (b *bundle) removeOrder(uid string) {
	b.exec(`DELETE FROM orders WHERE order_uid = $1`, uid)
}

// A replay of an erased order's records stores nothing and leaves no letter, whether they
// are valid, conflict, or are broken, as long as their order_uid can be read.
func TestAnErasedOrderDoesNotComeBackByAReplay(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker("ERASURE_KEY=" + erasureKey)
	conflict := order(t, "gone", "other")
	broken := []byte(`{"order_uid": "gone", "delivery": `)
	b.produce(0, order(t, "gone", "a"), order(t, "kept", "a"), conflict, broken)
	b.drained()
	require.Equal(t, 2, b.count("orders"))
	require.Len(t, b.letters(), 2)

	b.erase("gone")
	b.removeOrder("gone")
	escaped := []byte(strings.Replace(string(order(t, "gone", "b")), `"gone"`, `"\u0067one"`, 1))
	wrapped, err := json.Marshal(string(order(t, "gone", "c")))
	require.NoError(t, err)
	b.produce(0, order(t, "gone", "a"), order(t, "kept", "a"), conflict, broken, escaped, wrapped, []byte(`{"order_uid": "else", `))
	require.NoError(t, b.kafka.ProduceSync(b.ctx, &kgo.Record{Topic: ordersTopic, Key: []byte("gone"), Value: []byte("?")}).FirstErr())
	b.drained()
	require.Equal(t, 6, w.metric("orderhub_ingest_records_total", "outcome=erased"))
	require.Equal(t, 1, b.count("orders"))
	var open []string
	for id, l := range b.letters() {
		if l.Value != nil && !strings.HasPrefix(id, "note:") {
			open = append(open, id)
		}
	}
	require.Len(t, open, 3, "the letters of before, and that of the order else: %v", open)
}

// The worker commits an order that erase has not seen, since it was in flight. Erase waits
// for it, and a batch that comes later is refused.
func TestAnOrderInFlightDoesNotSurviveItsErasure(t *testing.T) {
	b := setup(t, 1)
	b.exec(`CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NULL; END $$;
		CREATE TRIGGER wait AFTER INSERT ON payments EXECUTE FUNCTION wait()`)
	holder, err := b.db.Conn(b.ctx)
	require.NoError(t, err)
	defer func() { _ = holder.Close() }()
	_, err = holder.ExecContext(b.ctx, `SELECT pg_advisory_lock(77)`)
	require.NoError(t, err)
	waiting := func(n int, what string) {
		b.eventually(what, func() (bool, string) {
			var got int
			err := b.db.QueryRowContext(b.ctx, `SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database() WHERE locktype = 'advisory' AND NOT granted`).Scan(&got)
			return err == nil && got == n, fmt.Sprint(got, err)
		})
	}
	db := bun.NewDB(b.db, pgdialect.New())
	w := orderwrite.New(db, orderwrite.Options{Timeout: deadline, Erasures: key()})
	written := make(chan error, 1)
	first := []*orderwrite.Entry{entry(t, "gone", "a")}
	go func() { written <- w.Write(b.ctx, first) }()
	waiting(1, "the writer has inserted the order")

	h := key().Of("gone")
	require.NoError(t, erased.Add(b.ctx, db, []orderdb.Erasure{{HMAC: h[:], KeyID: key().ID()}}))
	awaited := make(chan error, 1)
	go func() { awaited <- erased.Await(b.ctx, db) }()
	waiting(2, "erase waits for the writer")
	_, err = holder.ExecContext(b.ctx, `SELECT pg_advisory_unlock(77)`)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.NoError(t, <-awaited)
	require.Equal(t, orderwrite.Stored, first[0].Outcome)
	removed, err := erased.Remove(b.ctx, db, []string{"gone"})
	require.NoError(t, err)
	require.EqualValues(t, 1, removed)

	again := []*orderwrite.Entry{entry(t, "gone", "a"), entry(t, "new", "a")}
	require.NoError(t, w.Write(b.ctx, again))
	require.Equal(t, []orderwrite.Outcome{orderwrite.Erased, orderwrite.Stored}, []orderwrite.Outcome{again[0].Outcome, again[1].Outcome})
	require.Equal(t, 1, b.count("orders"))
}

// A letter of a record that was in flight is removed by the worker that wrote it.
func TestALetterInFlightDoesNotSurviveItsErasure(t *testing.T) {
	b := setup(t, 1)
	var once sync.Once
	b.broker.Cluster().ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if request.(*kmsg.ProduceRequest).Topics[0].Topic == dlqTopic {
			once.Do(func() { // the worker has decided that it is a letter
				h := key().Of("gone")
				require.NoError(t, erased.Add(b.ctx, bun.NewDB(b.db, pgdialect.New()), []orderdb.Erasure{{HMAC: h[:], KeyID: key().ID()}}))
			})
		}
		return nil, nil, false
	})
	w := b.startWorker("ERASURE_KEY=" + erasureKey)
	b.produce(0, []byte(`{"order_uid": "gone", `), []byte(`{"order_uid": "kept", `))
	b.drained()
	require.Nil(t, b.letterOf(0, 0).Value, "a tombstone")
	require.NotEmpty(t, b.letterOf(0, 1).Value)
	require.Equal(t, 1, w.metric("orderhub_ingest_records_total", "outcome=erased"))
	require.Equal(t, 1, w.metric("orderhub_ingest_records_total", "outcome=dead_letter"))
}

// The same, but the database went back to before the erasure in that moment, and has everything
// else: only the topic tells that the letter has to go.
func TestALetterInFlightDoesNotSurviveItsErasureAndARestore(t *testing.T) {
	b := setup(t, 1)
	var once sync.Once
	b.broker.Cluster().ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if request.(*kmsg.ProduceRequest).Topics[0].Topic == dlqTopic {
			once.Do(func() { go b.note("gone") }) // the worker has decided that it is a letter
		}
		return nil, nil, false
	})
	b.startWorker("ERASURE_KEY=" + erasureKey)
	b.produce(0, []byte(`{"order_uid": "gone", `), []byte(`{"order_uid": "kept", `))
	b.drained()
	b.eventually("the letter is gone", func() (bool, string) {
		l := b.letterOf(0, 0)
		return l.Value == nil, string(l.Value)
	})
	require.NotEmpty(t, b.letterOf(0, 1).Value)
	require.Equal(t, 1, b.count("erasures"))
}

// A database that was restored to before an erasure has neither the order's HMAC nor the
// position of the notes. A worker that starts, or one that kept running, removes the order
// again, and readers relist. Orders of nobody who was erased stay. Amid an erasure, the
// database had the HMAC already, and still had the order.
func TestARestoredDatabaseForgetsAgain(t *testing.T) {
	for _, is := range []struct{ running, amid bool }{{}, {running: true}, {amid: true}, {running: true, amid: true}} {
		t.Run(fmt.Sprintf("%+v", is), func(t *testing.T) {
			b := setup(t, 1)
			w := b.startWorker("ERASURE_KEY=" + erasureKey)
			b.produce(0, order(t, "gone", "a"), order(t, "kept", "a"))
			b.drained()
			b.exec(`CREATE TABLE backup_positions AS SELECT * FROM ingest_positions`)
			b.erase("gone")
			b.removeOrder("gone")
			if is.amid {
				b.produce(0, order(t, "kept", "a"))
				b.drained()
			}
			notes := func() (next int) {
				_ = b.db.QueryRowContext(b.ctx, `SELECT next_offset FROM ingest_positions WHERE topic = $1`, dlqTopic).Scan(&next)
				return next
			}
			b.eventually("the note is in the tables", func() (bool, string) { return notes() == 1, fmt.Sprint(notes()) })
			if !is.running {
				w.stop()
			}

			other := orderwrite.New(bun.NewDB(b.db, pgdialect.New()), orderwrite.Options{Timeout: deadline})
			b.exec(`DELETE FROM erasures`)
			b.exec(`SELECT setval('erasures_version', 1, false)`)
			require.NoError(t, other.Write(context.Background(), []*orderwrite.Entry{entry(t, "gone", "a")}))
			if is.amid {
				h := key().Of("gone")
				require.NoError(t, erased.Add(b.ctx, bun.NewDB(b.db, pgdialect.New()), []orderdb.Erasure{{HMAC: h[:], KeyID: key().ID()}}))
			}
			b.exec(`WITH gone AS (DELETE FROM ingest_positions RETURNING 1) SELECT count(*) FROM gone`)
			b.exec(`INSERT INTO ingest_positions SELECT * FROM backup_positions`)
			if !is.running {
				w = b.startWorker("ERASURE_KEY=" + erasureKey)
			}
			b.eventually("the order is gone again", func() (bool, string) {
				return b.stored("gone") == "" && notes() == 1, fmt.Sprint(b.stored("gone"), notes())
			})
			require.NotEmpty(t, b.stored("kept"))
			require.Equal(t, 1, w.metric("orderhub_erasures_removed_orders_total"))
			var pending, told bool
			require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT pending, epoch IS NOT NULL FROM erasures, order_changes_state`).Scan(&pending, &told))
			require.False(t, pending)
			require.True(t, told, "readers have to know")
			b.produce(0, order(t, "gone", "a"))
			b.drained()
			require.Equal(t, 1, w.metric("orderhub_ingest_records_total", "outcome=erased"))
		})
	}
}

// A database that goes back while a worker adds what it lacks has no position beyond it.
func TestTheDatabaseGoesBackWhileErasuresAreAdded(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker("ERASURE_KEY=" + erasureKey)
	b.produce(0, order(t, "gone", "a"), order(t, "kept", "a"))
	b.drained()
	b.exec(`CREATE SEQUENCE times;
		CREATE FUNCTION go_back() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			IF nextval('times') = 1 THEN DELETE FROM erasures; END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER go_back AFTER INSERT ON erasures EXECUTE FUNCTION go_back()`)
	b.note("gone")
	b.eventually("the order is gone", func() (bool, string) { return b.stored("gone") == "", b.stored("gone") })
	require.NotEmpty(t, b.stored("kept"))
	require.Equal(t, 1, b.count("erasures"))
	require.Equal(t, 1, w.metric("orderhub_erasures_removed_orders_total"))
}

// A database that lost erasures, but no position of an order, is noticed by a running worker
// before it stores such an order again, or writes a letter of it.
func TestLostErasuresAreNoticedByTheNextTransaction(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker("ERASURE_KEY="+erasureKey, "INGEST_LAG_INTERVAL=1h")
	b.produce(0, order(t, "kept", "a"))
	b.drained()
	b.erase("gone")
	b.produce(0, order(t, "gone", "a"))
	b.drained()
	b.exec(`DELETE FROM erasures`)
	b.exec(`SELECT setval('erasures_version', 1, false)`)
	b.produce(0, order(t, "gone", "a"), []byte(`{"order_uid": "gone", `), order(t, "more", "a"))
	b.drained()
	require.Equal(t, 3, w.metric("orderhub_ingest_records_total", "outcome=erased"))
	require.Equal(t, 2, b.count("orders"))
	require.Nil(t, b.letterOf(0, 3).Value, "no letter, or a tombstone")
	require.Equal(t, 1, b.count("erasures"))
}

// Without the key, or with another one, a worker stores nothing once orders were erased.
func TestAWorkerWithoutTheKeyStoresNothing(t *testing.T) {
	for name, setting := range map[string]string{"none": "ERASURE_KEY=", "another": "ERASURE_KEY=" + strings.Repeat("x", 32)} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, 1)
			db := bun.NewDB(b.db, pgdialect.New())
			h := key().Of("gone")
			require.NoError(t, erased.Add(b.ctx, db, []orderdb.Erasure{{HMAC: h[:], KeyID: key().ID()}}))
			w := b.startWorker(setting)
			b.produce(0, order(t, "gone", "a"))
			b.eventually("the worker says what is missing", func() (bool, string) {
				ready, body := w.readiness()
				return !ready && strings.Contains(body, "ERASURE_KEY"), body
			})
			require.Zero(t, b.count("orders"))
		})
	}
}

// Orders that are too old are deleted, more of them than a batch has, and readers are told.
// The worker does it by itself.
func TestOldOrdersAreDeleted(t *testing.T) {
	b := setup(t, 1)
	b.exec(`INSERT INTO orders SELECT 'old' || n, 'TRACK', 'WBIL', 'en', '', 'test', 'meest', '9', 1, now() - interval '3 hours', '1' FROM generate_series(1, 2500) n`)
	b.exec(`INSERT INTO items SELECT order_uid, 0, 1, 'TRACK', 1, 'r', 'n', 0, '0', 1, 1, 'b', 202 FROM orders`)
	b.exec(`INSERT INTO orders VALUES ('young', 'TRACK', 'WBIL', 'en', '', 'test', 'meest', '9', 1, now() - interval '1 hour', '1')`)
	db := bun.NewDB(b.db, pgdialect.New())
	require.NoError(t, prune.New(db, prune.Config{Orders: 2 * time.Hour}, nil, zap.NewNop()).PruneOrders(b.ctx))
	require.Equal(t, 1, b.count("orders"))
	require.Zero(t, b.count("items"))
	b.exec(`INSERT INTO orders VALUES ('old', 'TRACK', 'WBIL', 'en', '', 'test', 'meest', '9', 1, now() - interval '3 hours', '1')`)
	w := b.startWorker("ORDERS_RETENTION=2h", "DELETIONS_RETENTION=1s")
	b.eventually("the old order is gone", func() (bool, string) {
		n := w.metric("orderhub_prune_orders_total")
		return n == 1 && b.stored("old") == "", fmt.Sprint(n)
	})
	require.NotEmpty(t, b.stored("young"))
}
