package reader_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEachKindOfChange makes one change after another and waits for it to
// arrive, by notification alone.
func TestEachKindOfChange(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("before-1", "before-2")
	r := start(t, url).synced()
	r.equals(db)

	for _, change := range []struct{ name, sql string }{
		{"insert by hand", insertOrder("by-hand", 3)},
		{"insert as the worker does", `BEGIN; SET LOCAL orderhub.whole_orders = 'on';` + insertOrder("w-1", 1) + `;` + insertOrder("w-2", 10) + `; NOTIFY orders_changed; COMMIT`},
		{"update of an order", `UPDATE orders SET locale = 'ru' WHERE order_uid = 'w-1'`},
		{"update of an item", `UPDATE items SET price = 1 WHERE order_uid = 'w-2' AND position = 3`},
		{"update of a delivery", `UPDATE deliveries SET city = 'Łódź' WHERE order_uid = 'w-2'`},
		{"update of a payment", `UPDATE payments SET amount = 0 WHERE order_uid = 'w-2'`},
		{"replace as the worker does", `BEGIN; SET LOCAL orderhub.whole_orders = 'on'; UPDATE items SET price = 2 WHERE order_uid = 'w-2';
			UPDATE orders SET record_offset = 7, change_xid = pg_current_xact_id() WHERE order_uid = 'w-2'; NOTIFY orders_changed; COMMIT`},
		{"a newer record with the same content", `UPDATE orders SET record_offset = 8 WHERE order_uid = 'w-2'`},
		{"one more item", `INSERT INTO items SELECT order_uid, 99, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status FROM items WHERE order_uid = 'w-1'`},
		{"items in another order", `UPDATE items SET position = 100 - position WHERE order_uid = 'w-2'`},
		{"an item moves to another order", `UPDATE items SET order_uid = 'w-1', position = 1000 WHERE order_uid = 'w-2' AND position = 95`},
		{"one item less", `DELETE FROM items WHERE order_uid = 'w-2' AND position = 100`},
		{"another uid", `UPDATE orders SET order_uid = 'w-9' WHERE order_uid = 'w-1'`},
		{"uids change places", `UPDATE orders SET order_uid = CASE order_uid WHEN 'w-9' THEN 'x-1' ELSE 'x-2' END WHERE order_uid IN ('w-9', 'w-2')`},
		{"delete by hand, children first", `DELETE FROM items WHERE order_uid = 'x-1'; DELETE FROM payments WHERE order_uid = 'x-1'; DELETE FROM deliveries WHERE order_uid = 'x-1'; DELETE FROM orders WHERE order_uid = 'x-1'`},
		{"delete by cascade", `DELETE FROM orders WHERE order_uid = 'before-1'`},
		{"delete half done", `DELETE FROM items WHERE order_uid = 'x-2'; DELETE FROM payments WHERE order_uid = 'x-2'`},
		{"delivery gone too", `DELETE FROM deliveries WHERE order_uid = 'x-2'`},
		{"delete and insert at once", `BEGIN; DELETE FROM orders WHERE order_uid = 'by-hand';` + insertOrder("by-hand", 1) + `; COMMIT`},
		{"insert and delete at once", `BEGIN;` + insertOrder("short", 1) + `; DELETE FROM orders WHERE order_uid = 'short'; COMMIT`},
		{"many pages", `BEGIN; INSERT INTO orders SELECT 'page-'||i, '', '', 'en', '', '', '', '', i, now(), '1' FROM generate_series(1, 3500) i; INSERT INTO items SELECT 'page-'||i, 0, 1, '', 1, '', '', 1, '', 1, 1, '', 1 FROM generate_series(1, 3500, 2) i; COMMIT`},
		{"delete of many", `DELETE FROM orders WHERE order_uid LIKE 'page-%'`},
		{"truncate", `TRUNCATE orders CASCADE`},
		{"insert after truncate", insertOrder("after", 1)},
		{"truncate of a part", `TRUNCATE items`},
		{"the last date there is", `UPDATE orders SET date_created = '9999-12-31 23:59:59.999999+00' WHERE order_uid = 'after'`},
	} {
		client.run(change.sql)
		want := tables(t, db)
		if !poll(func() bool { return r.differs(want) == "" }) {
			require.Fail(t, change.name, r.differs(want))
		}
	}
	require.EqualValues(t, 2, r.loop.Stats().Relists, "the truncations, and nothing else, call for all orders")
}

func TestMissingPartsAreNull(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.insert("half")
	client.run(`DELETE FROM items; DELETE FROM deliveries`)
	r := start(t, url).synced()
	order := r.get("/order/half")
	require.Equal(t, 200, order.status)
	require.Contains(t, order.body, `"delivery":null,"payment":{`)
	require.Contains(t, order.body, `"items":null`)
	require.Equal(t, order.body, r.get("/order/half", "Cache-Control", "no-cache").body)
}

// TestCommitsOutOfOrder has an old transaction commit after many younger ones.
func TestCommitsOutOfOrder(t *testing.T) {
	url := newDatabase(t)
	db, client, old := openDB(t, url), connect(t, url).withVersions(), connect(t, url)
	client.insert("a", "b", "c")
	old.run(`BEGIN;` + insertOrder("old", 1) + `; UPDATE items SET price = 7 WHERE order_uid = 'a'`)
	r := start(t, url).synced() // its snapshot doesn't see the old transaction
	for i := range 20 {
		client.run(insertOrder(fmt.Sprintf("young-%d", i), 1))
	}
	r.equals(db)
	old.run(`SAVEPOINT s; UPDATE orders SET locale = 'xx' WHERE order_uid = 'b'; ROLLBACK TO s;
		SAVEPOINT t; UPDATE deliveries SET city = 'kept' WHERE order_uid = 'b'; RELEASE t; DELETE FROM orders WHERE order_uid = 'c'`)
	require.Equal(t, 404, r.get("/order/old").status)
	old.run(`COMMIT`)
	r.equals(db)
	require.Equal(t, 200, r.get("/order/old").status)
	require.Contains(t, r.get("/order/b").body, "kept")
	require.Equal(t, 404, r.get("/order/c").status)

	old.run(`BEGIN;` + insertOrder("never", 1) + `; ROLLBACK`)
	client.insert("last")
	r.equals(db)
	require.Zero(t, r.loop.Stats().Relists)
}

// TestALostListenerIsReplaced ends the listener's connection, and changes
// something before it is back.
func TestALostListenerIsReplaced(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	r := start(t, url).synced()
	for i := range 3 {
		client.run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'read-api doorbell'`)
		client.insert(fmt.Sprintf("missed-%d", i))
		r.equals(db) // rung at the new connection: the poll is an hour away
	}
	client.run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'read-api%'`)
	client.insert("all-lost")
	r.equals(db)
}

// TestThePollMakesUpForSilence changes the tables without ringing.
func TestThePollMakesUpForSilence(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	r := start(t, url, staleness(100*time.Millisecond)).synced()
	client.run(`BEGIN; SET LOCAL orderhub.whole_orders = 'on';` + insertOrder("silent", 1) + `; COMMIT`)
	r.equals(db)
}

// TestPrunedDeletionsCallForAllOrders prunes what a reader that was away has not
// read.
func TestPrunedDeletionsCallForAllOrders(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("a", "b")
	r := start(t, url).synced()
	client.run(`BEGIN; DELETE FROM orders WHERE order_uid = 'a';
		DELETE FROM order_deletions; UPDATE order_changes_state SET horizon = (pg_current_xact_id()::text::bigint + 1)::text::xid8; COMMIT`)
	r.equals(db)
	require.EqualValues(t, 1, r.loop.Stats().Relists)
	client.insert("c")
	r.equals(db)
	require.EqualValues(t, 1, r.loop.Stats().Relists, "once is enough")
}

// TestStampsFromAnotherClusterAreReadOnce restores rows whose stamps are in the
// future.
func TestStampsFromAnotherClusterAreReadOnce(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.run(`ALTER TABLE orders DISABLE TRIGGER USER;` + insertOrder("restored", 1) +
		`; UPDATE orders SET change_xid = '999999999999'; ALTER TABLE orders ENABLE TRIGGER USER`)
	r := start(t, url).synced()
	r.equals(db)
	client.insert("new")
	r.equals(db)
	client.run(`UPDATE items SET price = 3 WHERE order_uid = 'restored'`)
	r.equals(db)
}
