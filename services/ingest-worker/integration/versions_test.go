package integration

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/app"
)

// olderVersions migrates as Orderhub 0.1.0 did: three steps, recorded in goose's own table.
func olderVersions(t *testing.T, db *sql.DB) *goose.Provider {
	t.Helper()
	steps := fstest.MapFS{}
	for _, name := range []string{"00001_orders.sql", "00002_changes.sql", "00003_list_filters.sql"} {
		data, err := os.ReadFile("../../../migrations/sql/" + name)
		require.NoError(t, err)
		steps[name] = &fstest.MapFile{Data: data}
	}
	older, err := goose.NewProvider(goose.DialectPostgres, db, steps)
	require.NoError(t, err)
	return older
}

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// state is all that a program could notice of the tables outside of Orderhub's own.
func state(t *testing.T, db *sql.DB, tables ...string) (all string) {
	t.Helper()
	query := `SELECT coalesce(string_agg(c.relname || ' ' || c.oid || ' ' || coalesce((SELECT string_agg(a.attname, ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid), ''), ';' ORDER BY c.relname), '')
		FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relname <> 'orderhub_db_version'`
	for _, name := range tables {
		query += fmt.Sprintf(` UNION ALL SELECT coalesce(string_agg(t::text || xmin, ';' ORDER BY t::text), '') FROM %s t`, name)
	}
	rows, err := db.Query(query)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var part string
		require.NoError(t, rows.Scan(&part))
		all += part + "\n"
	}
	require.NoError(t, rows.Err())
	return all
}

func TestVersionsOfAnOlderOrderctlAreTakenOver(t *testing.T) {
	ctx := context.Background()
	db := open(t, postgres.ForTest(t))
	older := olderVersions(t, db)
	_, err := older.Up(ctx)
	require.NoError(t, err)
	const reader = "pg_monitor" // any role will do
	_, err = db.Exec(`GRANT SELECT ON goose_db_version TO ` + reader + `; INSERT INTO goose_db_version (version_id, is_applied) VALUES (20240101, true)`)
	require.NoError(t, err)
	recorded := state(t, db, "goose_db_version")

	var version *migrations.VersionError
	require.ErrorAs(t, migrations.Check(ctx, db, migrations.Writer), &version)
	require.EqualValues(t, 3, version.Current)
	require.True(t, version.Older)
	require.Contains(t, version.Error(), "run `orderctl migrate`")
	before, err := migrations.Status(ctx, db)
	require.NoError(t, err)
	require.False(t, before[2].AppliedAt.IsZero(), "what is applied shows before it is taken over")

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := migrations.Up(ctx, db); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, migrations.Check(ctx, db, migrations.Writer))
	after, err := migrations.Status(ctx, db)
	require.NoError(t, err)
	require.Equal(t, before[:3], after[:3], "with the times of then")
	var rows, foreign int
	var readable bool
	require.NoError(t, db.QueryRow(`SELECT count(*), count(*) FILTER (WHERE version_id > 1000), has_table_privilege($1, 'orderhub_db_version', 'SELECT') FROM orderhub_db_version`, reader).Scan(&rows, &foreign, &readable))
	require.Equal(t, len(after)+1, rows, "each step once, and goose's zero")
	require.Zero(t, foreign)
	require.True(t, readable)

	require.Contains(t, state(t, db, "goose_db_version"), strings.SplitN(recorded, "\n", 2)[1], "the older table is as it was")
	has, err := older.HasPending(ctx)
	require.NoError(t, err)
	require.False(t, has, "the older orderctl sees its versions")
}

func TestAnOlderOrderctlThatUndoesItsStepsIsNoticed(t *testing.T) {
	ctx := context.Background()
	db := open(t, postgres.ForTest(t))
	_, err := migrations.Up(ctx, db)
	require.NoError(t, err)
	_, err = db.Exec(`DROP TABLE items, payments, deliveries, orders`)
	require.NoError(t, err)
	require.ErrorAs(t, migrations.Check(ctx, db, migrations.Writer), new(*migrations.VersionError))
	_, err = migrations.Up(ctx, db)
	require.ErrorContains(t, err, "DROP TABLE orderhub_db_version")

	db = open(t, postgres.ForTest(t))
	_, err = migrations.Up(ctx, db)
	require.NoError(t, err)
	_, err = db.Exec(`DROP TABLE orderhub_db_version`)
	require.NoError(t, err)
	_, err = migrations.Up(ctx, db)
	require.ErrorContains(t, err, "restore that table")
}

// foreignTables is what orderHub_L0's migrations leave, with one order.
const foreignTables = `
	CREATE TABLE orders (order_uid varchar(64) PRIMARY KEY, track_number text, entry text, locale text, internal_signature text, customer_id text,
		delivery_service text, shardkey text, sm_id int, date_created timestamp, oof_shard text);
	CREATE TABLE deliveries (order_uid varchar(64) PRIMARY KEY REFERENCES orders, name text, phone text, zip text, city text, address text, region text, email text);
	CREATE TABLE payments (order_uid varchar(64) PRIMARY KEY REFERENCES orders, transaction text, request_id text, currency text, provider text, amount int,
		payment_dt bigint, bank text, delivery_cost int, goods_total int, custom_fee int);
	CREATE TABLE items (id serial PRIMARY KEY, order_uid varchar(64) REFERENCES orders, chrt_id bigint, track_number text, price int, rid text, name text,
		sale int, size text, total_price int, nm_id bigint, brand text, status int);
	INSERT INTO orders VALUES ('order1001test', 't', 'e', 'en', '', 'c', 'd', '9', 1, now(), '1');
	INSERT INTO deliveries VALUES ('order1001test', 'n', 'p', 'z', 'c', 'a', 'r', 'e');
	INSERT INTO payments VALUES ('order1001test', 't', '', 'USD', 'p', 1, 1, 'b', 1, 1, 1);
	INSERT INTO items (order_uid, chrt_id) VALUES ('order1001test', 1);`

func gooseVersions(versions ...int64) string {
	statement := `CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp DEFAULT now());`
	for _, v := range versions {
		statement += fmt.Sprintf(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, true);`, v)
	}
	return statement
}

func TestTablesOfAnotherProgramAreRefusedAndUntouched(t *testing.T) {
	ctx := context.Background()
	b := broker.StartForTest(t, broker.Options{DefaultPartitions: 1})
	all := []string{"orders", "deliveries", "payments", "items"}
	for name, c := range map[string]struct {
		versions []int64
		setup    string
		tables   []string // those that are named
	}{
		"versions 1 to 3":        {[]int64{0, 1, 2, 3}, foreignTables, all},
		"versions 1 and 2":       {[]int64{0, 1, 2}, foreignTables, all},
		"dates":                  {[]int64{0, 20240101120000, 20250101120000}, foreignTables, all},
		"no versions":            {nil, foreignTables, all},
		"a table of parts alone": {nil, `CREATE TABLE items (order_uid text, position int, chrt_id bigint)`, []string{"items"}},
		"a part among ours":      {nil, `CREATE TABLE orders (order_uid text, content_hash bytea, change_xid xid8); CREATE TABLE deliveries (id int)`, []string{"deliveries", "orders"}},
		"a view":                 {nil, `CREATE VIEW orders AS SELECT 1 AS id`, []string{"orders"}},
	} {
		t.Run(name, func(t *testing.T) {
			url := postgres.ForTest(t)
			db := open(t, url)
			_, err := db.Exec(gooseVersions(c.versions...) + c.setup)
			require.NoError(t, err)
			rows := append(slices.Clone(c.tables), "goose_db_version")
			if name == "a view" {
				rows = rows[1:]
			}
			before := state(t, db, rows...)
			for range 2 {
				_, err = migrations.Up(ctx, db)
				var foreign *migrations.ForeignTablesError
				require.ErrorAs(t, err, &foreign)
				for _, advice := range []string{`schema "public"`, c.tables[0], "search_path", "another database", "orderctl import"} {
					require.Contains(t, err.Error(), advice)
				}
			}
			_, err = migrations.Status(ctx, db)
			require.ErrorAs(t, err, new(*migrations.ForeignTablesError))
			_, err = migrations.DownTo(ctx, db, 0)
			require.ErrorAs(t, err, new(*migrations.ForeignTablesError))
			require.ErrorAs(t, migrations.Check(ctx, db, migrations.Writer), new(*migrations.ForeignTablesError))
			require.Equal(t, before, state(t, db, rows...))
			var made sql.NullString
			require.NoError(t, db.QueryRow(`SELECT to_regclass('orderhub_db_version')`).Scan(&made))
			require.False(t, made.Valid, "nothing was created")

			// A schema of its own in the same database serves.
			_, err = db.Exec(`CREATE SCHEMA orderhub`)
			require.NoError(t, err)
			own := open(t, withSearchPath(url, "orderhub,public"))
			require.ErrorAs(t, migrations.Check(ctx, own, migrations.Writer), new(*migrations.ForeignTablesError))
			_, err = migrations.Up(ctx, own)
			require.NoError(t, err)
			require.NoError(t, migrations.Check(ctx, own, migrations.Writer))
			require.Equal(t, before, state(t, db, rows...))
		})
	}

	t.Run("the worker", func(t *testing.T) {
		url := postgres.ForTest(t)
		db := open(t, url)
		_, err := db.Exec(foreignTables)
		require.NoError(t, err)
		bundle := &bundle{t: t, ctx: t.Context(), broker: b, url: url, db: db}
		w := &worker{t: t}
		w.app = fx.New(app.Options(bundle.settings()), fx.Populate(&w.metrics, &w.admin))
		require.NoError(t, w.app.Err())
		require.NoError(t, w.app.Start(t.Context()))
		t.Cleanup(w.stop)
		bundle.eventually("/readyz says whose tables these are", func() (bool, string) {
			ready, body := w.readiness()
			require.False(t, ready)
			return strings.Contains(body, "tables of another program") && strings.Contains(body, "orderctl import"), body
		})
		_, err = db.Exec(`DROP TABLE items, payments, deliveries, orders`)
		require.NoError(t, err)
		require.Equal(t, 1, bundle.ended(w).ExitCode, "a schema that is missing ends it, as ever")
	})
}

// TestTheVersionsOfAProgramBesideAreNotOurs has a program with goose and other tables in the same schema.
func TestTheVersionsOfAProgramBesideAreNotOurs(t *testing.T) {
	ctx := context.Background()
	db := open(t, postgres.ForTest(t))
	_, err := db.Exec(gooseVersions(0, 1, 2, 3, 4) + `CREATE TABLE users (id int)`)
	require.NoError(t, err)
	var version *migrations.VersionError
	require.ErrorAs(t, migrations.Check(ctx, db, migrations.Writer), &version)
	require.Zero(t, version.Current)
	steps, err := migrations.Up(ctx, db)
	require.NoError(t, err)
	all, err := migrations.Status(ctx, db)
	require.NoError(t, err)
	require.Len(t, steps, len(all))
	require.NoError(t, migrations.Check(ctx, db, migrations.Writer))
}

func withSearchPath(url, path string) string {
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	return url + separator + "search_path=" + path
}
