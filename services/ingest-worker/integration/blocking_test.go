package integration

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// released are the steps of version 0.1.0, which stay as they are.
const released = 3

// Each step keeps to docs/migrations.md.
func TestNoMigrationKeepsProgramsWaiting(t *testing.T) {
	t.Parallel()
	steps := os.DirFS("../../../migrations/sql")
	names, err := fs.Glob(steps, "*.sql")
	require.NoError(t, err)
	require.Greater(t, len(names), released)
	var all sync.WaitGroup // they mostly wait, so all at once
	for n, name := range names[released:] {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				require.Empty(t, blocking(t, steps, int64(released+n+1)))
			})
		})
	}
	all.Wait()
}

// The check finds what the policy forbids, and lets pass what it says instead.
func TestBlockingMigrationsAreFound(t *testing.T) {
	t.Parallel()
	const notNull = `ALTER TABLE orders ADD CONSTRAINT filled CHECK (content_hash IS NOT NULL) NOT VALID; `
	var all sync.WaitGroup
	for name, c := range map[string]struct {
		sql, finding string
		alone        bool // outside of a transaction
	}{
		"a type that rewrites":     {sql: `SET LOCAL lock_timeout = '100ms'; ALTER TABLE payments ALTER custom_fee TYPE numeric;`, finding: "writes rows of payments"},
		"a default for each row":   {sql: `SET LOCAL lock_timeout = '100ms'; ALTER TABLE orders ADD seen timestamptz DEFAULT clock_timestamp();`, finding: "writes rows of orders"},
		"an update of all rows":    {sql: `UPDATE orders SET locale = 'ru';`, finding: "writes rows of orders"},
		"rows inserted":            {sql: `INSERT INTO items SELECT order_uid, 7, 1, '', 1, '', '', 1, '', 1, 1, '', 1 FROM orders;`, finding: "writes rows of items"},
		"rows deleted":             {sql: `DELETE FROM deliveries;`, finding: "writes rows of deliveries"},
		"rows removed":             {sql: `SET LOCAL lock_timeout = '100ms'; TRUNCATE items;`, finding: "writes rows of items"},
		"a table in a new order":   {sql: `CLUSTER items USING items_pkey;`, finding: "writes rows of items", alone: true},
		"an index that locks":      {sql: `SET LOCAL lock_timeout = '100ms'; CREATE INDEX i ON orders (locale);`, finding: "reads orders while ShareLock on orders"},
		"the same without a block": {sql: `SET lock_timeout = '100ms'; CREATE INDEX i ON orders (locale);`, finding: "reads orders while ShareLock on orders", alone: true},
		"an index made anew":       {sql: `SET LOCAL lock_timeout = '100ms'; REINDEX TABLE items;`, finding: "writes rows of items"},
		"a full scan for NOT NULL": {sql: `SET LOCAL lock_timeout = '100ms'; ALTER TABLE orders ALTER content_hash SET NOT NULL;`, finding: "reads orders while AccessExclusiveLock on orders"},
		"a CHECK of all rows":      {sql: `SET LOCAL lock_timeout = '100ms'; ALTER TABLE items ADD CHECK (price > 0);`, finding: "reads items while AccessExclusiveLock on items"},
		"a CHECK in one block":     {sql: `SET LOCAL lock_timeout = '100ms'; ` + notNull + `ALTER TABLE orders VALIDATE CONSTRAINT filled;`, finding: "reads orders while AccessExclusiveLock on orders"},
		"a foreign key at once":    {sql: `SET LOCAL lock_timeout = '100ms'; ALTER TABLE items ADD FOREIGN KEY (order_uid) REFERENCES orders;`, finding: "reads items while ShareRowExclusiveLock on items"},
		"a lock and a query":       {sql: `SET LOCAL lock_timeout = '100ms'; LOCK orders; SELECT count(*) FROM items;`, finding: "reads items while AccessExclusiveLock on orders"},
		"no lock_timeout":          {sql: `ALTER TABLE orders ADD note text;`, finding: "keeps writers of orders waiting"},
		"a long lock_timeout":      {sql: `SET LOCAL lock_timeout = '1min'; LOCK TABLE items IN SHARE MODE;`, finding: "keeps writers of items waiting"},
		"no lock_timeout in a DO":  {sql: `DO 'BEGIN ALTER TABLE payments ADD note text;END';`, finding: "keeps writers of payments waiting"},

		"a column":             {sql: `SET LOCAL lock_timeout = '100ms'; ALTER TABLE orders ADD note text, ADD kind text NOT NULL DEFAULT 'x';`},
		"a table":              {sql: `SET LOCAL lock_timeout = '100ms'; CREATE TABLE notes (order_uid text COLLATE "C" REFERENCES orders, note text); CREATE INDEX i ON notes (note);`},
		"an index beside":      {sql: `DROP INDEX CONCURRENTLY IF EXISTS i; CREATE INDEX CONCURRENTLY i ON orders (locale);`, alone: true},
		"an index removed":     {sql: `SET LOCAL lock_timeout = '100ms'; DROP INDEX orders_newest;`},
		"NOT NULL, proved":     {sql: `SET lock_timeout = '100ms'; ALTER TABLE orders DROP CONSTRAINT IF EXISTS filled; ` + notNull + `ALTER TABLE orders VALIDATE CONSTRAINT filled; ALTER TABLE orders ALTER content_hash SET NOT NULL; ALTER TABLE orders DROP CONSTRAINT filled; RESET lock_timeout;`, alone: true},
		"a foreign key, later": {sql: `SET lock_timeout = '100ms'; ALTER TABLE items DROP CONSTRAINT IF EXISTS f; ALTER TABLE items ADD CONSTRAINT f FOREIGN KEY (order_uid) REFERENCES orders NOT VALID; ALTER TABLE items VALIDATE CONSTRAINT f; RESET lock_timeout;`, alone: true},
	} {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				first, err := os.ReadFile("../../../migrations/sql/00001_orders.sql")
				require.NoError(t, err)
				second := "-- +goose Up\n" + strings.ReplaceAll(c.sql, "; ", ";\n")
				if c.alone {
					second = "-- +goose NO TRANSACTION\n" + second
				}
				found := blocking(t, fstest.MapFS{"00001_orders.sql": {Data: first}, "00002_planted.sql": {Data: []byte(second)}}, 2)
				if c.finding == "" {
					require.Empty(t, found)
					return
				}
				require.Contains(t, strings.Join(found, "\n"), c.finding)
			})
		})
	}
	all.Wait()
}

// watch notes, in transactions of others, what they have read while they hold a lock.
//
//go:embed testdata/watch.sql
var watch string

const (
	manyOrders = 1000
	// longest is what a step's lock_timeout may be; a writer may wait a little longer.
	longest   = 5 * time.Second
	endurance = longest + time.Second
)

// blocking applies a step to tables with orders, while somebody holds locks as a writer does
// who does not finish, and returns what the step does that keeps programs waiting.
func blocking(t *testing.T, steps fs.FS, version int64) (findings []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	url := postgres.ForTest(t)
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	b := &bundle{t: t, ctx: ctx, url: url, db: db}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, steps)
	require.NoError(t, err)
	_, err = provider.UpTo(ctx, version-1)
	require.NoError(t, err)
	tables := b.texts(`SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'goose_db_version' ORDER BY 1`)
	b.fill(tables)
	before := b.rows(tables)
	require.NoError(t, postgres.Execute(ctx, postgres.AdminForTest(t, url), watch))

	holder, err := db.Conn(ctx)
	require.NoError(t, err)
	_, err = holder.ExecContext(ctx, `BEGIN; LOCK TABLE `+strings.Join(tables, ", ")+` IN ROW EXCLUSIVE MODE`)
	require.NoError(t, err)
	up := make(chan error, 1)
	go func() {
		_, err := provider.UpTo(ctx, version)
		up <- err
	}()
	done, err := b.waitsOrEnds(up)
	if !done {
		for _, table := range tables {
			if refused(postgres.Execute(ctx, url, fmt.Sprintf(`SET lock_timeout = %d`, endurance.Milliseconds()),
				`BEGIN`, `LOCK TABLE `+table+` IN ROW EXCLUSIVE MODE`)) {
				findings = append(findings, fmt.Sprintf("keeps writers of %s waiting for more than %s", table, longest))
				break // the others wait for the same
			}
		}
	}
	_, rollback := holder.ExecContext(ctx, `ROLLBACK`)
	require.NoError(t, errors.Join(rollback, holder.Close()))
	if !done {
		err = <-up
	}
	if refused(err) { // by its lock_timeout: so it is run again
		_, err = provider.UpTo(ctx, version)
	}
	require.NoError(t, err)
	for table, rows := range b.rows(tables) {
		if rows != before[table] {
			findings = append(findings, "writes rows of "+table)
		}
	}
	return append(findings, b.texts(`SELECT DISTINCT what FROM watch.findings ORDER BY 1`)...)
}

// waitsOrEnds returns once a step waits for a lock, or has ended.
func (b *bundle) waitsOrEnds(up <-chan error) (done bool, err error) {
	for {
		select {
		case err := <-up:
			return true, err
		case <-time.After(10 * time.Millisecond):
		}
		if len(b.texts(`SELECT pid::text FROM pg_locks JOIN pg_stat_activity USING (pid)
			WHERE datname = current_database() AND NOT granted`)) > 0 {
			return false, nil
		}
	}
}

func refused(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code == "55P03" // lock_not_available
}

// fill fills those of the tables that hold orders.
func (b *bundle) fill(tables []string) {
	const uids = `SELECT 'uid' || n AS uid FROM generate_series(1, $1) n`
	b.exec(`INSERT INTO orders (order_uid, track_number, entry, locale, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard, content_hash)
		SELECT uid, 't', 'e', 'en', 'c', 'd', '1', 1, now(), '1', '\x00' FROM (`+uids+`) u`, manyOrders)
	b.exec(`INSERT INTO deliveries SELECT uid, 'n', 'p', 'z', 'c', 'a', 'r', 'e' FROM (`+uids+`) u`, manyOrders)
	b.exec(`INSERT INTO payments SELECT uid, 't', 'r', 'USD', 'p', 1, 1, 'b', 1, 1, 1 FROM (`+uids+`) u`, manyOrders)
	b.exec(`INSERT INTO items SELECT uid, 0, 1, 't', 1, 'r', 'n', 0, 's', 1, 1, 'b', 1 FROM (`+uids+`) u`, manyOrders)
	if slices.Contains(tables, "order_deletions") {
		b.exec(`INSERT INTO order_deletions (order_uid) SELECT uid FROM (`+uids+`) u`, manyOrders)
	}
}

// rows tells for each table where its rows are and which transactions wrote them, and in
// which files it and its indexes are, apart from those of indexes that are new.
func (b *bundle) rows(tables []string) map[string]string {
	b.t.Helper()
	found := map[string]string{}
	for _, table := range tables {
		found[table] = strings.Join(b.texts(fmt.Sprintf(`SELECT concat(pg_relation_filenode('%[1]s'), '/', (SELECT pg_relation_filenode(indexrelid) FROM pg_index WHERE indrelid = '%[1]s'::regclass AND indisprimary),
			'/', (SELECT md5(string_agg(ctid::text || xmin::text, ' ')) FROM %[1]s))`, table)), "")
	}
	return found
}

// texts are the first column of a query's rows.
func (b *bundle) texts(query string) (texts []string) {
	b.t.Helper()
	require.NoError(b.t, b.db.QueryRowContext(b.ctx, `SELECT coalesce(array_agg(r), '{}') FROM (`+query+`) q (r)`).Scan(pgtype.NewMap().SQLScanner(&texts)))
	return texts
}
