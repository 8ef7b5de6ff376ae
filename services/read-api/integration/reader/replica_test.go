package reader_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// replicaChanges are changes of each kind, in an order in which they can be made.
var replicaChanges = []struct{ name, sql string }{
	{"insert", insertOrder("r-1", 3)},
	{"insert of several", `BEGIN;` + insertOrder("r-2", 1) + `;` + insertOrder("r-3", 2) + `; COMMIT`},
	{"update of an order", `UPDATE orders SET locale = 'ru' WHERE order_uid = 'r-1'`},
	{"update of a delivery", `UPDATE deliveries SET city = 'Łódź' WHERE order_uid = 'r-2'`},
	{"update of a payment", `UPDATE payments SET amount = 0 WHERE order_uid = 'r-2'`},
	{"update of an item", `UPDATE items SET price = 1 WHERE order_uid = 'r-1' AND position = 1`},
	{"an item moves to another order", `UPDATE items SET order_uid = 'r-2', position = 9 WHERE order_uid = 'r-1' AND position = 2`},
	{"one item less", `DELETE FROM items WHERE order_uid = 'r-1' AND position = 1`},
	{"no payment", `DELETE FROM payments WHERE order_uid = 'r-3'`},
	{"another uid", `BEGIN; UPDATE orders SET order_uid = 'r-9' WHERE order_uid = 'r-3'; COMMIT`},
	{"delete and insert at once", `BEGIN; DELETE FROM items WHERE order_uid = 'r-1'; DELETE FROM payments WHERE order_uid = 'r-1';
		DELETE FROM deliveries WHERE order_uid = 'r-1'; DELETE FROM orders WHERE order_uid = 'r-1';` + insertOrder("r-1", 1) + `; COMMIT`},
	{"delete", `DELETE FROM orders WHERE order_uid = 'r-2'`},
	{"truncate of a part", `TRUNCATE items`},
	{"truncate", `TRUNCATE orders, deliveries, payments, items`},
	{"insert after truncate", insertOrder("r-1", 1)},
}

// TestChangesOfTheReplicaRole makes changes in sessions that ordinary triggers are
// silent for. They arrive by notification alone.
func TestChangesOfTheReplicaRole(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	db := openDB(t, url)
	connect(t, url).withVersions().insert("before")
	r := start(t, url).synced()
	replica := connect(t, server.AdminURL())
	replica.run(`SET session_replication_role = replica`)
	for _, change := range replicaChanges {
		replica.run(change.sql)
		r.becomes(tables(t, db), change.name)
	}
	replica.run(`UPDATE orders SET change_xid = '3', locale = 'de'`)
	r.becomes(tables(t, db), "a stamp from another cluster")
	require.EqualValues(t, 2, r.loop.Stats().Relists, "for the truncations")
	require.Contains(t, r.readyz().body, `in step with the tables"`)

	// A part comes before its order, whose transaction waits for the part's.
	replica.run(`BEGIN; INSERT INTO items SELECT 'late', 9, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status
		FROM items LIMIT 1`)
	other := connect(t, server.AdminURL())
	other.run(`SET session_replication_role = replica`)
	inserted := make(chan error, 1)
	go func() {
		_, err := other.conn.PgConn().Exec(t.Context(), insertOrder("late", 1)).ReadAll()
		inserted <- err
	}()
	eventually(t, "the order waits for its part", func() bool {
		waits := false
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`).Scan(&waits))
		return waits
	})
	replica.run(`COMMIT`)
	require.NoError(t, <-inserted)
	r.becomes(tables(t, db), "a part that came before its order")

	// The worker's inserts are whole orders and stamped by default: nothing is done for
	// their rows, whatever the role.
	replica.run(`BEGIN; SET LOCAL orderhub.whole_orders = 'on'; INSERT INTO orders SELECT 'whole', track_number, entry, locale,
		internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard, NULL, '3' FROM orders LIMIT 1;
		INSERT INTO payments SELECT 'whole', transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee FROM payments LIMIT 1;
		COMMIT`)
	var stamp string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT change_xid::text FROM orders WHERE order_uid = 'whole'`).Scan(&stamp))
	require.Equal(t, "3", stamp)
}

// becomes waits until the cache is what it should be.
func (r *reader) becomes(want map[string]string, after string) {
	r.t.Helper()
	if !poll(func() bool { return r.differs(want) == "" }) {
		require.Fail(r.t, after, r.differs(want))
	}
}

// TestReplicatedOrders subscribes a database to the orders of another cluster, and
// reads it.
func TestReplicatedOrders(t *testing.T) {
	logical := postgres.Options{Unsafe: true, Settings: map[string]string{"wal_level": "logical", "wal_retrieve_retry_interval": "100ms"}}
	publisher, subscriber := postgres.ServerForTest(t, logical), postgres.ServerForTest(t, logical)
	migrate(t, publisher.URL())
	migrate(t, subscriber.URL())
	source := connect(t, publisher.URL()).withVersions()
	// The publisher's transaction ids are far ahead.
	source.run(`DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`)
	source.insert("copied-1", "copied-2")
	connect(t, publisher.AdminURL()).run(`CREATE PUBLICATION orders FOR TABLE orders, deliveries, payments, items`)
	from, to := openDB(t, publisher.URL()), openDB(t, subscriber.URL())
	connect(t, subscriber.URL()).withVersions().insert("own")
	r := start(t, subscriber.URL()).synced()
	subscription := connect(t, subscriber.AdminURL())
	subscription.run(fmt.Sprintf(`CREATE SUBSCRIPTION orders CONNECTION '%s' PUBLICATION orders`, publisher.AdminURL()))
	defer subscription.run(`DROP SUBSCRIPTION orders`)

	arrives := func(after string) {
		t.Helper()
		want := tables(t, from)
		_, there := want["copied-1"]
		arrived := func() bool {
			if there { // the change may concern the subscriber's own order, and come later
				want["own"] = tables(t, to)["own"]
			}
			return r.differs(want) == ""
		}
		if !poll(arrived) {
			require.Fail(t, after, r.differs(want))
		}
	}
	arrives("the first copy")
	for _, change := range replicaChanges {
		source.run(change.sql)
		arrives(change.name)
	}
	require.Equal(t, tables(t, from), tables(t, to))
	require.Contains(t, r.readyz().body, `in step with the tables"`)
}

// TestDataRestoredWithoutTriggers has pg_restore --disable-triggers bring rows, which
// leaves the triggers of the replica role as ordinary ones. Until they are enabled
// again, the check finds what they do not see.
func TestDataRestoredWithoutTriggers(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("changed", "deleted")
	file := filepath.Join(t.TempDir(), "orders.dump")
	runProgram(t, server.NeedForTest(t, "pg_dump"), "--format=custom", "--data-only", "--table=orders", "--table=deliveries",
		"--table=payments", "--table=items", "--file="+file, "--dbname="+url)
	r := start(t, url, staleness(100*time.Millisecond), func(s *app.Settings) { s.CheckInterval = 50 * time.Millisecond }).synced()
	client.run(`DELETE FROM orders;` + insertOrder("changed-since", 1))
	r.equals(db)
	runProgram(t, server.NeedForTest(t, "pg_restore"), "--data-only", "--disable-triggers", "--dbname="+server.AdminURL(), file)
	r.equals(db)
	require.Equal(t, 200, r.get("/order/deleted").status)
	eventually(t, "/readyz reports the triggers", func() bool {
		return strings.Contains(r.readyz().body, "12 of their triggers are off")
	})
	require.True(t, r.said("triggers of the tables are off"))
	require.Contains(t, r.metrics(), "orderhub_cache_triggers_off 12")

	relists := r.loop.Stats().Relists
	require.Zero(t, r.loop.Stats().Differences)
	replica := connect(t, server.AdminURL())
	replica.run(`SET session_replication_role = replica; UPDATE orders SET locale = 'zz' WHERE order_uid = 'changed'; DELETE FROM orders WHERE order_uid = 'deleted';` + insertOrder("inserted", 1))
	r.equals(db)
	eventually(t, "the check counts what it has corrected, and calls for a relist", func() bool {
		return r.loop.Stats().Differences > 0 && r.loop.Stats().Relists == relists+1
	})
	require.Contains(t, r.metrics(), "orderhub_cache_differences_total ")

	client.run(`SELECT order_triggers_enable()`)
	eventually(t, "/readyz has no complaint", func() bool { return strings.Contains(r.readyz().body, `in step with the tables"`) })
	found := r.loop.Stats().Differences
	replica.run(`UPDATE orders SET locale = 'de' WHERE order_uid = 'changed'`)
	r.equals(db)
	require.Equal(t, found, r.loop.Stats().Differences, "the triggers have seen it")
}

func runProgram(t *testing.T, program string, arguments ...string) {
	t.Helper()
	output, err := exec.CommandContext(context.Background(), program, arguments...).CombinedOutput()
	require.NoError(t, err, string(output))
}
