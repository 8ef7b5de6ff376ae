package reader_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// listIndexes creates or drops the list indexes.
func listIndexes(t *testing.T, change func(context.Context, *sql.DB, func(name, what string) error) error, url string) {
	t.Helper()
	require.NoError(t, change(t.Context(), openDB(t, url), func(string, string) error { return nil }))
}

// unindexed asks for a list that the database cannot read along an index.
func (r *reader) unindexed(path string, header ...string) {
	r.t.Helper()
	got := r.get(path, header...)
	require.Equal(r.t, 503, got.status, got.body)
	require.Contains(r.t, got.body, "/problems/list-unavailable")
	require.NotEmpty(r.t, got.header.Get("Retry-After"))
}

var noCache = []string{"Cache-Control", "no-cache"}

// TestWithoutListIndexes drops the indexes of lists: memory has all answers, and the database
// refuses what it would have to read all orders for, until the indexes are there again.
func TestWithoutListIndexes(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address).withVersions()
	client.insert("a", "b")
	r := start(t, address).synced()
	r.lists()
	paths := []string{
		"/api/v1/orders", "/api/v1/orders?customer_id=customer%20%22a%22", "/api/v1/orders?track_number=TRACK", "/api/v1/orders?currency=USD&count=estimate",
		"/api/v1/orders?limit=1&count=exact", "/api/v1/suggest?q=TRACK", "/api/v1/suggest?q=a", "/api/v1/suggest?q=customer%20%22a%22",
	}
	fromDatabase := map[string]string{}
	for _, path := range paths {
		fromDatabase[path] = r.get(path, noCache...).body
	}
	listIndexes(t, migrations.DropListIndexes, address)
	for _, path := range paths {
		got := r.get(path)
		require.Equal(t, 200, got.status, got.body)
		require.Equal(t, fromDatabase[path], got.body)
		r.unindexed(path, noCache...)
	}
	require.Equal(t, 200, r.get("/api/v1/export?format=ndjson").status)
	l := r.listen("?snapshot=true", "")
	require.Equal(t, []string{"upsert", "upsert", "snapshot-end"}, []string{l.next().kind, l.next().kind, l.next().kind})
	l.close()
	for path, status := range map[string]int{"/order/a": 200, "/order/none": 404, "/api/v1/orders/a/versions": 200} {
		require.Equal(t, status, r.get(path, noCache...).status, path)
	}
	page := r.get("/?q=TRACK")
	require.NotEqual(t, 503, page.status)

	// A list needs its own index alone, and a usable one.
	listIndexes(t, migrations.CreateListIndexes, address)
	client.run(`DROP INDEX orders_customer`)
	r.unindexed("/api/v1/orders?customer_id=c", noCache...)
	r.unindexed("/api/v1/suggest?q=a", noCache...)
	require.Equal(t, 200, r.get("/api/v1/orders?track_number=TRACK", noCache...).status)
	require.Equal(t, 200, r.get("/api/v1/orders", noCache...).status)
	client.run(`DROP INDEX orders_newest; CREATE TABLE other (date_created int); CREATE INDEX orders_newest ON other (date_created)`)
	admin := connect(t, postgres.AdminForTest(t, address))
	admin.run(`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_track_number'::regclass`)
	r.unindexed("/api/v1/orders?track_number=TRACK", noCache...)

	client.run(`DROP TABLE other`)
	listIndexes(t, migrations.CreateListIndexes, address)
	for _, path := range paths {
		require.Equal(t, fromDatabase[path], r.get(path, noCache...).body, "without a restart")
	}
}

// TestListsBeforeMemoryHasThem starts readers that do not hold all orders, or not yet.
func TestListsBeforeMemoryHasThem(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address).withVersions()
	client.insert("a", "b")
	listIndexes(t, migrations.DropListIndexes, address)

	client.run(`BEGIN; LOCK TABLE order_changes_state IN ACCESS EXCLUSIVE MODE`) // no snapshot begins
	r := start(t, address)
	r.unindexed("/api/v1/orders")
	require.Equal(t, 200, r.get("/order/a").status)
	client.run(`COMMIT`)
	r.synced()
	eventually(t, "memory has lists", func() bool { return r.get("/api/v1/orders").status == 200 })

	partial := start(t, address, func(s *app.Settings) { s.CacheBytes = 1 << 20 }).synced()
	client.run(fmt.Sprintf(`INSERT INTO orders SELECT 'uid-' || i, '%s', '', 'en', '', 'c', '', '', 1, now(), '1' FROM generate_series(1, 3000) i`, strings.Repeat("x", 1000)))
	eventually(t, "memory has not all orders", func() bool { return partial.get("/api/v1/orders").status == 503 })
	partial.unindexed("/api/v1/suggest?q=c")
	require.Equal(t, 200, partial.get("/order/a").status)
	listIndexes(t, migrations.CreateListIndexes, address)
	require.Equal(t, 200, partial.get("/api/v1/orders").status)
}

// TestListsWhileOrdersChangeWithoutIndexes changes the orders of a list all the time. Memory is
// asked again where a change is ahead of the list.
func TestListsWhileOrdersChangeWithoutIndexes(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address).withVersions()
	client.insert("a", "b", "c", "d")
	listIndexes(t, migrations.DropListIndexes, address)
	r := start(t, address).synced()
	eventually(t, "memory has lists", func() bool { return r.get("/api/v1/orders").status == 200 })
	stop, stopped := make(chan struct{}), make(chan struct{})
	writer := connect(t, address)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := writer.conn.Exec(context.Background(), `UPDATE payments SET amount = amount + 1`); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for before := r.metric(listsFromDatabase); r.metric(listsFromDatabase) < before+5; {
		for _, path := range []string{"/api/v1/orders", "/api/v1/orders?sort=amount_desc"} {
			got := r.get(path)
			require.Equal(t, 200, got.status, got.body)
			require.Equal(t, 4, strings.Count(got.body, `"order_uid"`))
		}
	}
	close(stop)
	<-stopped
}

// TestCountsWithoutIndexes counts more orders than memory may: only an estimate is there, and the
// answer says so.
func TestCountsWithoutIndexes(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address)
	client.run(`BEGIN; SET LOCAL orderhub.whole_orders = 'on';
		INSERT INTO orders SELECT 'uid-' || i, 'TRACK', '', 'en', '', 'c', '', '', 1, now(), '1' FROM generate_series(1, 9000) i;
		INSERT INTO deliveries SELECT 'uid-' || i, 'Anna', '+1', '', '', '', '', 'a@b.c' FROM generate_series(1, 9000) i; COMMIT`)
	listIndexes(t, migrations.DropListIndexes, address)
	r := start(t, address).synced()
	eventually(t, "memory has lists", func() bool { return r.get("/api/v1/orders").status == 200 })
	const path = "/api/v1/orders?limit=1&name_prefix=a&count="
	got := r.get(path + "exact")
	require.Equal(t, 503, got.status)
	require.Contains(t, got.body, "Ask with count=estimate")
	require.Contains(t, r.get(path+"estimate").body, `"count_exact":false`)
}
