package reader_test

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// dump writes a database down as SQL.
func dump(t *testing.T, server *postgres.Server, options ...string) string {
	t.Helper()
	program := server.NeedForTest(t, "pg_dump")
	output, err := exec.CommandContext(t.Context(), program, append(options, "--dbname="+server.URL())...).CombinedOutput()
	require.NoError(t, err, string(output))
	return string(output)
}

func restore(t *testing.T, server *postgres.Server, sql string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), server.NeedForTest(t, "psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--quiet", server.URL())
	cmd.Stdin = strings.NewReader(sql)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
}

// TestADumpInAnotherClusterCallsForAllOrders puts another server, with a dump of
// the first one's orders, in its place.
func TestADumpInAnotherClusterCallsForAllOrders(t *testing.T) {
	port, err := ports.Free()
	require.NoError(t, err)
	first, err := postgres.Start(t.Context(), postgres.Options{Unsafe: true, Port: port})
	require.NoError(t, err)
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			require.NoError(t, first.Stop(context.Background()))
		}
	}
	defer stop()
	migrate(t, first.URL())
	client := connect(t, first.URL()).withVersions()
	client.insert("kept", "changed")
	r := start(t, first.URL(), staleness(100*time.Millisecond)).synced()
	saved := dump(t, first)
	client.run(`UPDATE orders SET locale = 'zz' WHERE order_uid = 'changed'`)
	client.insert("after-the-dump")
	r.equals(openDB(t, first.URL()))
	stop()

	second := postgres.ServerForTest(t, postgres.Options{Unsafe: true, Port: port})
	// It has given out more transaction ids than the first.
	connect(t, second.URL()).run(`DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`)
	restore(t, second, saved)
	r.equals(openDB(t, second.URL()))
	require.True(t, r.said("this is another cluster: its system identifier was"))
	require.Equal(t, 404, r.get("/order/after-the-dump").status)
	require.NotContains(t, r.get("/order/changed").body, "zz")
	connect(t, second.URL()).insert("new")
	r.equals(openDB(t, second.URL()))
}

// TestADumpRestoredInPlaceCallsForAllOrders replaces the tables by those of a
// dump, whose stamps are old and whose triggers come after the rows.
func TestADumpRestoredInPlaceCallsForAllOrders(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	migrate(t, server.URL())
	client := connect(t, server.URL()).withVersions()
	client.insert("kept", "changed", "deleted")
	r := start(t, server.URL(), staleness(100*time.Millisecond)).synced()
	saved := dump(t, server, "--clean")
	client.run(`UPDATE orders SET locale = 'zz' WHERE order_uid = 'changed'; DELETE FROM orders WHERE order_uid = 'deleted'`)
	client.insert("after-the-dump")
	db := openDB(t, server.URL())
	r.equals(db)
	restore(t, server, saved)
	r.equals(db)
	require.True(t, r.said("the tables were made anew"))
	require.Equal(t, 404, r.get("/order/after-the-dump").status)
	require.Equal(t, 200, r.get("/order/deleted").status)
	client.insert("new")
	r.equals(db)
}

// TestTriggersThatWereOffCallForAllOrders changes orders while nothing stamps
// them, as pg_restore --disable-triggers does.
func TestTriggersThatWereOffCallForAllOrders(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("a", "b")
	r := start(t, url, staleness(100*time.Millisecond)).synced()
	client.run(`BEGIN; ALTER TABLE orders DISABLE TRIGGER USER; UPDATE orders SET locale = 'zz' WHERE order_uid = 'a';
		DELETE FROM orders WHERE order_uid = 'b'; ALTER TABLE orders ENABLE TRIGGER USER; COMMIT`)
	r.equals(db)
	require.True(t, r.said("their triggers were switched off or on"))
	require.EqualValues(t, 1, r.loop.Stats().Relists)
}

// TestTransactionIdsOfAnotherEpoch lets the ids of transactions pass 2^32, which
// is nothing to readers, and then go back, as they do with a disk's older copy.
func TestTransactionIdsOfAnotherEpoch(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	server.NeedForTest(t, "pg_resetwal")
	url := server.URL()
	migrate(t, url)
	connect(t, url).withVersions().insert("a", "b", "c")
	r := start(t, url, staleness(100*time.Millisecond)).synced()
	step := func(epoch, statements string) {
		t.Helper()
		require.NoError(t, server.Offline(t.Context(), syscall.SIGINT, func() error { return server.Shell(t.Context(), "pg_resetwal --epoch="+epoch+` "$PGDATA"`) }))
		db := openDB(t, url)
		client := connect(t, url)
		client.run(statements)
		client.insert("epoch-" + epoch)
		r.equals(db)
		rounds := r.loop.Stats().Rounds
		eventually(t, "the position is in this epoch too", func() bool { return r.loop.Stats().Rounds > rounds })
		var is bool
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT change_xid >= ($1::numeric * 4294967296)::text::xid8
			AND change_xid < (($1::numeric + 1) * 4294967296)::text::xid8 FROM orders WHERE order_uid = $2`, epoch, "epoch-"+epoch).Scan(&is))
		require.True(t, is, "the server is in epoch %s", epoch)
	}
	step("1", `DELETE FROM orders WHERE order_uid = 'a'`)
	require.Zero(t, r.loop.Stats().Relists, "a new epoch is no reason to read all orders anew")
	step("0", `DELETE FROM orders WHERE order_uid = 'b'; UPDATE items SET price = 9 WHERE order_uid = 'c'`)
	require.True(t, r.said("transaction ids went back"))
	require.EqualValues(t, 1, r.loop.Stats().Relists)
	client := connect(t, url)
	client.run(`UPDATE orders SET locale = 'ru' WHERE order_uid = 'epoch-1'`)
	r.equals(openDB(t, url))
}
