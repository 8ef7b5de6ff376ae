package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

var listIndexNames = []string{"orders_newest", "orders_customer", "orders_track_number"}

// listIndexes is a database with orders, whose list indexes orderctl changes.
type listIndexes struct {
	t   *testing.T
	url string
	db  *sql.DB
}

func newListIndexes(t *testing.T) *listIndexes {
	t.Helper()
	l := &listIndexes{t: t, url: postgres.ForTest(t)}
	t.Setenv("DATABASE_URL", l.url)
	l.db = openURL(t, l.url)
	_, err := migrations.Up(t.Context(), l.db)
	require.NoError(t, err)
	l.insert(l.db, 200)
	return l
}

func (l *listIndexes) insert(db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, count int,
) {
	l.t.Helper()
	_, err := db.ExecContext(l.t.Context(), `INSERT INTO orders SELECT 'uid-' || gen_random_uuid(), 't' || i, '', 'en', '', 'c' || i % 7, '', '', 1, now(), '1' FROM generate_series(1, $1) i`, count)
	require.NoError(l.t, err)
}

func (l *listIndexes) sql(query string) {
	l.t.Helper()
	_, err := l.db.ExecContext(l.t.Context(), query)
	require.NoError(l.t, err)
}

// catalog is what PostgreSQL has of the indexes, and of those of partitions: their definitions,
// and which of them are valid.
func (l *listIndexes) catalog() (definitions map[string]string, valid map[string]bool) {
	l.t.Helper()
	definitions, valid = map[string]string{}, map[string]bool{}
	rows, err := l.db.QueryContext(l.t.Context(), `SELECT c.relname, pg_get_indexdef(c.oid), x.indisvalid FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
		WHERE x.indrelid::regclass::text ~ '^orders(_[0-9])?$' AND pg_get_indexdef(c.oid) ~ 'date_created'`)
	require.NoError(l.t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, definition string
		var is bool
		require.NoError(l.t, rows.Scan(&name, &definition, &is))
		definitions[name], valid[name] = definition, is
	}
	require.NoError(l.t, rows.Err())
	return definitions, valid
}

// orderctl runs migrate with a flag, and returns what it says to have done with each index, in
// their order.
func (l *listIndexes) orderctl(flag string) (done []string) {
	l.t.Helper()
	got := orderctlRun(l.t.Context(), "migrate", flag, "--output", "json")
	require.Zero(l.t, got.code, got.stderr)
	for i, line := range slices.Collect(strings.Lines(got.stdout)) {
		var said struct{ Index, Done string }
		require.NoError(l.t, json.Unmarshal([]byte(line), &said))
		require.Equal(l.t, listIndexNames[i], said.Index)
		done = append(done, said.Done)
	}
	require.Len(l.t, done, len(listIndexNames))
	return done
}

func all(what string) []string { return []string{what, what, what} }

// TestListIndexes drops the list indexes and creates them as the migrations do. The migrations
// work without them.
func TestListIndexes(t *testing.T) {
	l := newListIndexes(t)
	made, _ := l.catalog()
	require.Len(t, made, 3)
	require.Equal(t, all("present already"), l.orderctl("--list-indexes"))
	require.Equal(t, all("dropped"), l.orderctl("--drop-list-indexes"))
	left, _ := l.catalog()
	require.Empty(t, left)
	require.Equal(t, all("absent already"), l.orderctl("--drop-list-indexes"))
	absent, err := migrations.AbsentListIndexes(t.Context(), l.db)
	require.NoError(t, err)
	require.Equal(t, listIndexNames, absent)

	require.Zero(t, orderctlRun(t.Context(), "migrate").code)
	require.Zero(t, orderctlRun(t.Context(), "migrate", "status").code)
	left, _ = l.catalog()
	require.Empty(t, left, "migrate leaves them out")
	require.Equal(t, all("created"), l.orderctl("--list-indexes"))
	again, valid := l.catalog()
	require.Equal(t, made, again, "they are what the migrations make")
	require.Equal(t, map[string]bool{"orders_newest": true, "orders_customer": true, "orders_track_number": true}, valid)

	l.sql(`DROP INDEX orders_customer`)
	require.Equal(t, []string{"present already", "created", "present already"}, l.orderctl("--list-indexes"))

	l.orderctl("--drop-list-indexes")
	got := orderctlRun(t.Context(), "migrate", "down", "--to", "2", "--yes")
	require.Zero(t, got.code, got.stderr)
	got = orderctlRun(t.Context(), "migrate", "--list-indexes")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "run `orderctl migrate`", "the steps would meet the indexes")
	for _, to := range []string{"1", "0"} {
		require.Zero(t, orderctlRun(t.Context(), "migrate").code)
		l.orderctl("--drop-list-indexes")
		got = orderctlRun(t.Context(), "migrate", "down", "--to", to, "--yes")
		require.Zero(t, got.code, got.stderr)
	}
	require.Zero(t, orderctlRun(t.Context(), "migrate").code)
	again, _ = l.catalog()
	require.Equal(t, made, again)
}

// TestListIndexesBesideWriters creates an index while a transaction stays open: other writers go
// on. What is left of an interrupted attempt is dropped and made again.
func TestListIndexesBesideWriters(t *testing.T) {
	l := newListIndexes(t)
	made, _ := l.catalog()
	l.orderctl("--drop-list-indexes")
	open, err := l.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = open.Rollback() }()
	l.insert(open, 1)

	until := func(waits bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			var does bool
			require.NoError(t, l.db.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND query ~ '^(CREATE|DROP) INDEX CONCURRENTLY' AND wait_event_type = 'Lock')`).Scan(&does))
			return does == waits
		}, time.Minute, 5*time.Millisecond)
	}
	attempt := func() (done chan result, stop context.CancelFunc) {
		ctx, stop := context.WithCancel(t.Context())
		done = make(chan result, 1)
		go func() { done <- orderctlRun(ctx, "migrate", "--list-indexes") }()
		until(true)
		return done, stop
	}
	done, stop := attempt()
	stop()
	require.NotZero(t, (<-done).code)
	until(false)
	require.Eventually(t, func() bool {
		_, valid := l.catalog()
		ready, there := valid["orders_newest"]
		return there && !ready
	}, time.Minute, 5*time.Millisecond, "it is left unusable")

	done, stop = attempt()
	defer stop()
	writer, err := l.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = writer.ExecContext(t.Context(), `SET LOCAL statement_timeout = '30s'`)
	require.NoError(t, err)
	l.insert(writer, 1)
	require.NoError(t, writer.Commit())
	require.NoError(t, open.Commit())
	got := <-done
	require.Zero(t, got.code, got.stderr)
	require.Equal(t, "orders_newest: created again\norders_customer: created\norders_track_number: created\n", got.stdout)
	again, _ := l.catalog()
	require.Equal(t, made, again)
}

// TestListIndexesOfPartitions has the tables partitioned. An attempt that was interrupted among the
// partitions is completed, or dropped.
func TestListIndexesOfPartitions(t *testing.T) {
	l := newListIndexes(t)
	script, err := os.ReadFile("../../../scripts/bench/scale/partition.sql")
	require.NoError(t, err)
	require.NoError(t, postgres.Execute(t.Context(), l.url, string(script)))
	made, _ := l.catalog()
	require.Len(t, made, 3*9)
	require.Equal(t, all("present already"), l.orderctl("--list-indexes"))
	require.Equal(t, all("dropped"), l.orderctl("--drop-list-indexes"))
	left, _ := l.catalog()
	require.Empty(t, left)

	// Their order decides what a sorted plan may use.
	complete := func() {
		t.Helper()
		again, valid := l.catalog()
		require.Len(t, again, 3*9)
		for _, name := range listIndexNames {
			require.Equal(t, made[name], again[name])
		}
		require.NotContains(t, fmt.Sprint(valid), "false")
		require.Contains(t, again["orders_3_newest"], "ON public.orders_3 USING btree (date_created DESC, order_uid DESC)")
	}
	require.Equal(t, all("created"), l.orderctl("--list-indexes"))
	complete()

	interrupted := func() {
		t.Helper()
		l.sql(`CREATE INDEX orders_newest ON ONLY orders (date_created DESC, order_uid DESC)`)
		l.sql(`CREATE INDEX orders_0_newest ON orders_0 (date_created DESC, order_uid DESC)`)
		l.sql(`ALTER INDEX orders_newest ATTACH PARTITION orders_0_newest`)
		l.sql(`CREATE INDEX orders_1_newest ON orders_1 (date_created DESC, order_uid DESC)`)
		l.sql(`CREATE INDEX orders_2_newest ON orders_2 (date_created DESC, order_uid DESC)`)
		admin := openURL(t, postgres.AdminForTest(t, l.url))
		_, err := admin.ExecContext(t.Context(), `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_2_newest'::regclass`)
		require.NoError(t, err)
	}
	l.orderctl("--drop-list-indexes")
	interrupted()
	require.Equal(t, []string{"completed", "created", "created"}, l.orderctl("--list-indexes"))
	complete()

	l.orderctl("--drop-list-indexes")
	interrupted()
	require.Equal(t, []string{"dropped", "absent already", "absent already"}, l.orderctl("--drop-list-indexes"))
	left, _ = l.catalog()
	require.Empty(t, left)

	// A lock that would keep writers waiting is not waited for long, and nothing is half done.
	require.Equal(t, all("created"), l.orderctl("--list-indexes"))
	open, err := l.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = open.Rollback() }()
	l.insert(open, 50)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := orderctlRun(ctx, "migrate", "--drop-list-indexes")
	require.Equal(t, 1, got.code, got.stderr)
	require.Contains(t, got.stderr, "lock timeout")
	complete()
}
