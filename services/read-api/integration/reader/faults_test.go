package reader_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// TestPostgresKilledAndBack is what the API answers meanwhile.
func TestPostgresKilledAndBack(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	db := openDB(t, url)
	connect(t, url).withVersions().insert("kept", "deleted")
	r := start(t, url, staleness(200*time.Millisecond)).synced()
	require.Empty(t, r.get("/order/kept").header.Get("X-Orderhub-Staleness"))
	etag := r.get("/order/kept").header.Get("ETag")
	require.NotContains(t, r.get("/?fragment=1").body, "may be out of date")

	require.NoError(t, server.Kill())
	eventually(t, "hits are marked as stale", func() bool {
		return r.get("/order/kept").header.Get("X-Orderhub-Staleness") != ""
	})
	hit := r.get("/order/kept")
	require.Equal(t, 200, hit.status)
	require.Equal(t, etag, hit.header.Get("ETag"))
	require.Equal(t, 304, r.get("/order/kept", "If-None-Match", etag).status)
	for _, path := range []string{"/order/unknown", "/api/v1/orders"} {
		unknown := r.get(path)
		require.Equal(t, 503, unknown.status, path)
		require.Equal(t, "application/problem+json", unknown.header.Get("Content-Type"))
		require.NotEmpty(t, unknown.header.Get("Retry-After"))
	}
	require.Equal(t, 503, r.get("/order/kept", "Cache-Control", "no-cache").status)
	newest := r.get("/?fragment=1").body
	require.Contains(t, newest, "It is not known what has changed since", "the page's list is the last one, and says so")
	require.Contains(t, newest, `data-uid="deleted"`)
	eventually(t, "/readyz says so", func() bool { return strings.Contains(r.readyz().body, "served from memory as of") })
	require.Equal(t, 200, r.readyz().status, "hits are served")

	require.NoError(t, server.Restart(context.Background()))
	client := connect(t, url)
	client.run(`DELETE FROM orders WHERE order_uid = 'deleted'`)
	client.insert("new")
	r.equals(db)
	eventually(t, "answers are current again", func() bool {
		return r.get("/order/kept").header.Get("X-Orderhub-Staleness") == "" && r.get("/order/unknown").status == 404
	})
	require.Equal(t, 404, r.get("/order/deleted").status)
	require.Equal(t, 200, r.get("/order/new").status)
	require.Equal(t, 200, r.get("/order/kept", "Cache-Control", "no-cache").status)
	require.Contains(t, r.readyz().body, "in step")
	require.Zero(t, r.loop.Stats().Relists, "a crash loses nothing that was committed")
}

// TestPostgresFrozen keeps connections open that nothing answers on.
func TestPostgresFrozen(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	migrate(t, url)
	db := openDB(t, url)
	client := connect(t, url).withVersions()
	client.insert("kept")
	r := start(t, url, staleness(200*time.Millisecond)).synced()

	require.NoError(t, server.Pause())
	eventually(t, "stale", func() bool { return r.get("/order/kept").header.Get("X-Orderhub-Staleness") != "" })
	require.Equal(t, 200, r.get("/order/kept").status)
	for _, path := range []string{"/order/unknown", "/api/v1/orders"} {
		require.Equal(t, 503, r.get(path).status, "%s, after a bounded time", path)
	}
	require.NoError(t, server.Resume())
	client.insert("new")
	r.equals(db)
	eventually(t, "current again", func() bool { return r.get("/order/unknown").status == 404 })
}

// TestPostgresReadOnly lets nobody write but one session that insists.
func TestPostgresReadOnly(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	client.insert("kept")
	client.run(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	r := start(t, url).synced()
	_, err := connect(t, url).conn.Exec(t.Context(), `DELETE FROM orders`)
	require.ErrorContains(t, err, "read-only")
	l := r.listen("", "")
	last := l.id()
	client.insert("new")
	r.equals(db)
	require.Equal(t, 200, r.get("/order/new").status)
	require.Equal(t, 200, r.get("/order/new", "Cache-Control", "no-cache").status)
	require.Equal(t, 404, r.get("/order/unknown").status)
	require.Equal(t, 200, r.get("/api/v1/orders?customer_id=x").status)
	require.Equal(t, "new", l.next().uid(t))
	require.Equal(t, "new", r.listen("", last).next().uid(t))
}

// TestStartBeforeTheDatabaseAndItsSchema starts the reader first of all.
func TestStartBeforeTheDatabaseAndItsSchema(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	url := server.URL()
	require.NoError(t, server.Kill())
	r := start(t, url)
	eventually(t, "/readyz says that nobody answers", func() bool {
		ready := r.readyz()
		return ready.status == 503 && strings.Contains(ready.body, "waiting for the database")
	})
	require.Equal(t, 503, r.get("/order/a").status)

	require.NoError(t, server.Restart(context.Background()))
	eventually(t, "/readyz says what to do", func() bool { return strings.Contains(r.readyz().body, "orderctl migrate") })
	require.Equal(t, 503, r.get("/order/a").status, "without tables nothing is known")

	migrate(t, url)
	client := connect(t, url).withVersions()
	client.insert("a")
	r.synced()
	r.equals(openDB(t, url))
	require.Equal(t, 200, r.readyz().status)
	_, err := migrations.DownTo(t.Context(), openDB(t, url), 3)
	require.NoError(t, err)

	// On the schema of release 0.1.0, and while that is migrated, the reader keeps serving.
	r = start(t, url).synced()
	require.True(t, r.said("the schema is older than this program"))
	client.insert("b")
	r.equals(openDB(t, url))
	require.Equal(t, 200, r.get("/order/b", "Cache-Control", "no-cache").status)
	none := r.get("/api/v1/orders/b/versions")
	require.Equal(t, 503, none.status)
	require.Contains(t, none.body, "orderctl migrate")
	migrate(t, url)
	require.Equal(t, 200, r.get("/api/v1/orders/b/versions").status)
	client.insert("c")
	r.equals(openDB(t, url))
	relists := r.loop.Stats().Relists
	client.run(`UPDATE order_changes_state SET epoch = gen_random_uuid(); NOTIFY orders_changed`)
	eventually(t, "the reader knows the epoch", func() bool { return r.loop.Stats().Relists > relists })
}

// TestReadThroughBeforeTheCacheIsFilled holds the cache up by a schema that
// looks too old.
func TestReadThroughBeforeTheCacheIsFilled(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.insert("stored")
	client.run(`CREATE TABLE held AS SELECT * FROM orderhub_db_version; DELETE FROM orderhub_db_version`)
	r := start(t, url)
	read := r.get("/order/stored")
	require.Equal(t, 200, read.status)
	require.Equal(t, 404, r.get("/order/unknown").status)
	require.Equal(t, 503, r.readyz().status)
	require.Equal(t, 503, r.get("/api/v1/orders/stream").status)
	require.False(t, r.stats().Synced)
	require.EqualValues(t, 2, r.stats().ReadThroughs)

	client.run(`INSERT INTO orderhub_db_version OVERRIDING SYSTEM VALUE SELECT * FROM held`)
	r.synced()
	hit := r.get("/order/stored")
	require.Equal(t, read.body, hit.body)
	require.Equal(t, read.header.Get("ETag"), hit.header.Get("ETag"))
	require.EqualValues(t, 2, r.stats().ReadThroughs, "a hit asks nobody")
}

// TestAMigrationDisturbsNoReaderAndNoStream applies a migration under a reader. Docs/migrations.md
// says why no order can have changed.
func TestAMigrationDisturbsNoReaderAndNoStream(t *testing.T) {
	url := newDatabase(t)
	db, client := openDB(t, url), connect(t, url).withVersions()
	r := start(t, url).synced()
	l := r.listen("", "")
	client.insert("before")
	id := l.next().id
	client.run(`INSERT INTO orderhub_db_version (version_id, is_applied) VALUES (999, true)`)
	client.insert("a")
	require.Equal(t, "a", l.next().uid(t))
	require.Equal(t, "a", r.listen("", id).next().uid(t))
	r.equals(db)
	require.Zero(t, r.loop.Stats().Relists)
}

// TestTablesOfAnotherProgramAreNotServed has tables with Orderhub's names and other columns.
func TestTablesOfAnotherProgramAreNotServed(t *testing.T) {
	url := postgres.ForTest(t)
	connect(t, url).run(`CREATE TABLE orders (order_uid text PRIMARY KEY, track_number text); INSERT INTO orders VALUES ('a', 't')`)
	r := start(t, url)
	eventually(t, "/readyz says whose tables these are", func() bool {
		ready := r.readyz()
		return ready.status == 503 && strings.Contains(ready.body, "tables of another program") && strings.Contains(ready.body, "orderctl import")
	})
	require.Equal(t, 503, r.get("/order/a").status)
	require.Equal(t, 503, r.get("/order/b").status)
}
