package reader_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// saving has a reader save its orders to a folder.
func saving(folder string) func(*app.Settings) {
	return func(s *app.Settings) { s.SnapshotDir = folder }
}

// usedFile tells whether a reader has started from its file.
func (r *reader) usedFile() bool {
	return r.log.FilterMessage("cache restored").FilterFieldKey("file").Len() > 0
}

// TestAWarmStart changes orders while no reader runs. The next one starts from its file and has
// what changed, unless the changes are not known.
func TestAWarmStart(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.run(manyOrders(3000))
	for name, options := range map[string]func(*app.Settings){"plain": func(*app.Settings) {}, "compressed": compressed} {
		folder := filepath.Join(t.TempDir(), "saved")
		start(t, url, saving(folder), options).synced().stop()
		client.insert("new")
		client.run(`UPDATE items SET status = status + 1 WHERE order_uid LIKE 'a%'; DELETE FROM orders WHERE order_uid LIKE 'b%'`)
		r := start(t, url, saving(folder), options).synced()
		eventually(t, name, r.usedFile)
		require.Empty(t, r.differs(tables(t, db)), "ready means that the tail has caught up")
		require.Equal(t, 404, r.get("/order/unknown").status)
		require.Zero(t, r.stats().ReadThroughs)
		require.NotContains(t, r.ask("GET", "http://"+r.admin.Addr()+"/metrics").body, "orderhub_cache_saved_bytes 0")
		client.run(`DELETE FROM orders WHERE order_uid = 'new'`)
		r.equals(db)
		r.stop()
	}

	for name, doubt := range map[string]string{
		"history":   renewEpoch,
		"truncated": `TRUNCATE orders CASCADE; ` + manyOrders(100),
		"pruned":    `DELETE FROM orders WHERE order_uid LIKE '0%'; UPDATE order_changes_state SET horizon = pg_current_xact_id(); DELETE FROM order_deletions`,
		"schema":    `ALTER TABLE items ADD COLUMN further text`,
		"triggers":  `ALTER TABLE orders DISABLE TRIGGER USER; DELETE FROM orders WHERE order_uid LIKE '1%'; ALTER TABLE orders ENABLE TRIGGER USER`,
	} {
		folder := t.TempDir()
		start(t, url, saving(folder)).synced().stop()
		client.run(doubt)
		r := start(t, url, saving(folder)).synced()
		require.False(t, r.usedFile(), name)
		require.True(t, r.said("the saved orders are not used"), name)
		require.Empty(t, r.differs(tables(t, db)), name)
		r.stop()
	}

	// A database of the last release has the versions of its schema elsewhere.
	client.run(`CREATE TABLE goose_db_version AS SELECT * FROM orderhub_db_version WHERE version_id <= 3; GRANT SELECT ON goose_db_version TO PUBLIC;
		DROP TABLE orderhub_db_version`)
	folder := t.TempDir()
	start(t, url, saving(folder)).synced().stop()
	r := start(t, url, saving(folder)).synced()
	eventually(t, "the last release's schema", r.usedFile)
	r.stop()
}

// TestDeletedOrdersLeaveTheFile erases an order while a reader runs.
func TestDeletedOrdersLeaveTheFile(t *testing.T) {
	url := newDatabase(t)
	client, path := connect(t, url).withVersions(), filepath.Join(t.TempDir(), "orders.saved")
	client.insert("erased", "kept")
	saved := func(uid string) bool {
		text, err := os.ReadFile(path)
		return err == nil && bytes.Contains(text, []byte(`"order_uid":"`+uid+`"`))
	}
	r := start(t, url, saving(filepath.Dir(path)), func(s *app.Settings) {
		s.SnapshotInterval, s.CacheMaxStaleness = time.Second, 200*time.Millisecond
	}).synced()
	eventually(t, "both are saved", func() bool { return saved("erased") && saved("kept") })
	client.run(`DELETE FROM orders WHERE order_uid = 'erased'`)
	eventually(t, "it is out of the file", func() bool { return !saved("erased") && saved("kept") })
	require.Equal(t, 404, r.get("/order/erased").status)
}

// TestAFileOfAHistoryThatWasUndone saves orders, puts the database back to a backup of before,
// and writes past the position of the file: only the stamps tell. Then the same with a deletion
// as the only change.
func TestAFileOfAHistoryThatWasUndone(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	server.NeedForTest(t, "pg_basebackup")
	url, folder := server.URL(), t.TempDir()
	migrate(t, url)
	client := connect(t, url).withVersions()
	client.insert("before", "changed")
	require.NoError(t, server.BackUp(t.Context()))
	client.run(`UPDATE orders SET locale = 'zz' WHERE order_uid = 'changed'`)
	client.insert("lost")
	start(t, url, saving(folder)).synced().stop()
	require.NoError(t, server.Restore(t.Context()))
	client = connect(t, url)
	client.run(manyOrders(3000))
	for range 50 {
		client.run(`UPDATE orders SET locale = 'en' WHERE order_uid = 'before'`)
	}
	r := start(t, url, saving(folder)).synced()
	require.Empty(t, r.differs(tables(t, openDB(t, url))))
	require.True(t, r.said("2 of the newest 3 changes are no longer in its tables"))
	require.False(t, r.usedFile())
	r.stop()

	require.NoError(t, server.BackUp(t.Context()))
	folder = t.TempDir()
	for range 20 {
		client.run(`SELECT pg_current_xact_id()`)
	}
	client.run(`DELETE FROM orders WHERE order_uid = 'changed'`)
	start(t, url, saving(folder)).synced().stop()
	r = start(t, url, saving(folder)).synced()
	eventually(t, "the deletion is in the tables", r.usedFile)
	r.stop()
	require.NoError(t, server.Restore(t.Context()))
	client = connect(t, url)
	client.run(`CREATE TABLE filler AS SELECT generate_series(1, 100000)`)
	for range 50 {
		client.run(`UPDATE orders SET locale = 'en' WHERE order_uid = 'before'`)
	}
	r = start(t, url, saving(folder)).synced()
	require.Empty(t, r.differs(tables(t, openDB(t, url))))
	require.False(t, r.usedFile())
}
