package integration

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/prune"
)

// database is a fresh database with the schema, without a broker.
func database(t *testing.T) *bundle {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	url := postgres.ForTest(t)
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = migrations.Up(ctx, db)
	require.NoError(t, err)
	return &bundle{t: t, ctx: ctx, url: url, db: db}
}

func TestMigrationsGoUpAndDownAndUpAgain(t *testing.T) {
	ctx := context.Background()
	db, err := sql.Open("pgx", postgres.ForTest(t))
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	var version *migrations.VersionError
	require.ErrorAs(t, migrations.Check(ctx, db, migrations.Writer), &version)
	require.Zero(t, version.Current)

	// Two processes that start at once take turns.
	var wg sync.WaitGroup
	applied := make(chan int, 4)
	for range 4 {
		wg.Go(func() {
			steps, err := migrations.Up(ctx, db)
			if err != nil {
				t.Error(err)
			}
			applied <- len(steps)
		})
	}
	wg.Wait()
	sum := 0
	for range 4 {
		sum += <-applied
	}
	steps, err := migrations.Status(ctx, db)
	require.NoError(t, err)
	require.Equal(t, len(steps), sum, "each step once")
	require.NoError(t, migrations.Check(ctx, db, migrations.Writer))

	for range 2 {
		_, err = migrations.DownTo(ctx, db, 0)
		require.NoError(t, err)
		var left int
		require.NoError(t, db.QueryRow(`SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'orderhub_db_version')
			+ (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace)`).Scan(&left))
		require.Zero(t, left)
		require.ErrorAs(t, migrations.Check(ctx, db, migrations.Writer), &version)
		_, err = migrations.Up(ctx, db)
		require.NoError(t, err)
		require.NoError(t, migrations.Check(ctx, db, migrations.Writer))
	}
}

const insertOrder = `INSERT INTO orders (order_uid, track_number, entry, locale, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard)
	SELECT uid, 't', 'e', 'en', 'c', 'd', '1', 1, now(), '1' FROM unnest($1::text[]) AS uid`

const insertItem = `INSERT INTO items (order_uid, position, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status)
	VALUES ($1, $2, 1, 't', 1, 'r', 'n', 0, 's', 1, 1, 'b', 1)`

// stamps are the orders' change_xid, and the deletions' uids, and the relist's xid.
func (b *bundle) stamps() (orders map[string]string, deleted []string, relist string) {
	b.t.Helper()
	orders = map[string]string{}
	rows, err := b.db.QueryContext(b.ctx, `SELECT order_uid, change_xid::text FROM orders`)
	require.NoError(b.t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var uid, xid string
		require.NoError(b.t, rows.Scan(&uid, &xid))
		orders[uid] = xid
	}
	require.NoError(b.t, rows.Err())
	require.NoError(b.t, b.db.QueryRowContext(b.ctx, `SELECT relist_xid::text FROM order_changes_state`).Scan(&relist))
	require.NoError(b.t, b.db.QueryRowContext(b.ctx, `SELECT coalesce(array_agg(order_uid ORDER BY order_uid), '{}') FROM order_deletions`).Scan(pgtype.NewMap().SQLScanner(&deleted)))
	return orders, deleted, relist
}

// Every statement that changes an order or a part of it, by whatever client,
// stamps the order, or leaves a deletion, or calls for a relist, and rings the
// bell exactly once.
func TestEveryChangeIsStampedAndRings(t *testing.T) {
	for _, c := range []struct {
		name, sql string
		stamped   []string // of a and b
		deleted   []string
		relist    bool
	}{
		{name: "update an order", sql: `UPDATE orders SET locale = 'ru' WHERE order_uid = 'a'`, stamped: []string{"a"}},
		{name: "update both orders", sql: `UPDATE orders SET locale = 'ru'`, stamped: []string{"a", "b"}},
		{name: "a newer record with the same content", sql: `UPDATE orders SET record_version = 1, record_time = now(), record_partition = 1, record_offset = 5, content_hash = 'x'`},
		{name: "a newer record with other content", sql: `UPDATE orders SET record_offset = 5, locale = 'ru' WHERE order_uid = 'a'`, stamped: []string{"a"}},
		{name: "write a stamp by hand", sql: `UPDATE orders SET change_xid = '3' WHERE order_uid = 'a'`, stamped: []string{"a"}},
		{name: "update an item", sql: `UPDATE items SET price = 5 WHERE order_uid = 'a'`, stamped: []string{"a"}},
		{name: "move an item", sql: `UPDATE items SET order_uid = 'b', position = 7 WHERE order_uid = 'a' AND position = 0`, stamped: []string{"a", "b"}},
		{name: "insert an item", sql: `INSERT INTO items SELECT order_uid, 9, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status FROM items WHERE order_uid = 'a' AND position = 0`, stamped: []string{"a"}},
		{name: "delete an item", sql: `DELETE FROM items WHERE order_uid = 'a' AND position = 1`, stamped: []string{"a"}},
		{name: "insert a delivery", sql: `INSERT INTO deliveries VALUES ('a', 'n', 'p', 'z', 'c', 'a', 'r', 'e')`, stamped: []string{"a"}},
		{name: "insert a payment", sql: `INSERT INTO payments VALUES ('b', 't', 'r', 'USD', 'p', 1, 1, 'b', 1, 1, 1)`, stamped: []string{"b"}},
		{name: "upsert an item", sql: `INSERT INTO items SELECT * FROM items WHERE order_uid = 'a' AND position = 0 ON CONFLICT (order_uid, position) DO UPDATE SET price = 8`, stamped: []string{"a"}},
		{name: "merge items", sql: `MERGE INTO items USING (VALUES ('a')) AS v (uid) ON order_uid = uid WHEN MATCHED THEN UPDATE SET price = 9`, stamped: []string{"a"}},
		{name: "delete an order with its parts", sql: `DELETE FROM orders WHERE order_uid = 'a'`, deleted: []string{"a"}},
		{name: "delete all orders", sql: `DELETE FROM orders`, deleted: []string{"a", "b"}},
		{name: "change an order_uid", sql: `UPDATE orders SET order_uid = 'z' WHERE order_uid = 'a'`, deleted: []string{"a"}},
		{name: "insert an order with an old stamp", sql: `INSERT INTO orders SELECT 'n', track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard, NULL, '3' FROM orders WHERE order_uid = 'a'`},
		{name: "truncate items", sql: `TRUNCATE items`, relist: true},
		{name: "truncate payments", sql: `TRUNCATE payments`, relist: true},
		{name: "truncate deliveries", sql: `TRUNCATE deliveries`, relist: true},
		{name: "truncate everything", sql: `TRUNCATE orders CASCADE`, relist: true},
		{name: "truncate deletions", sql: `TRUNCATE order_deletions`, relist: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := database(t)
			b.exec(insertOrder, []string{"a", "b"})
			b.exec(insertItem, "a", 0)
			b.exec(insertItem, "a", 1)
			before, _, relist := b.stamps()
			listener := b.listen()

			b.exec(c.sql)
			require.Equal(t, 1, b.rings(listener), "rings")
			after, deleted, relisted := b.stamps()
			require.ElementsMatch(t, c.deleted, deleted)
			require.Equal(t, c.relist, relist != relisted)
			var stamped []string
			for _, uid := range []string{"a", "b"} {
				if after[uid] != "" && after[uid] != before[uid] {
					stamped = append(stamped, uid)
				}
			}
			require.Equal(t, c.stamped, stamped)
			for uid, xid := range after {
				require.NotEqual(t, "3", xid, uid)
			}
		})
	}
}

// The worker's inserts bring their stamps and ring themselves.
func TestWholeOrdersAreNotStampedAgain(t *testing.T) {
	b := database(t)
	listener := b.listen()
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, `SELECT set_config($1, 'on', true)`, orderdb.WholeOrdersSetting)
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, insertOrder, []string{"a"})
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, insertItem, "a", 0)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	require.Equal(t, 0, b.rings(listener))
	var once bool
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT xmin::text = change_xid::text FROM orders`).Scan(&once))
	require.True(t, once, "the row was written once, by the transaction that its stamp names")

	// The setting ends with the transaction.
	b.exec(insertItem, "a", 1)
	require.Equal(t, 1, b.rings(listener))
}

// The store rings once a transaction that inserts, and not for duplicates.
func TestTheStoreRingsOnce(t *testing.T) {
	b := database(t)
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 1})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	listener := b.listen()
	for _, rings := range []int{1, 0} {
		require.NoError(t, newWriter(db, 1000).Write(b.ctx, entries(t, order(t, "a", "x"), order(t, "b", "x"), order(t, "c", "x"))))
		require.Equal(t, rings, b.rings(listener))
	}
	var once bool
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT bool_and(xmin::text = change_xid::text) FROM orders`).Scan(&once))
	require.True(t, once, "each row was written once")
}

// Each line of the seed's manual SQL works as it stands.
func TestTheSeedsSQL(t *testing.T) {
	b := database(t)
	b.exec(insertOrder, []string{"order1001test"})
	b.exec(insertItem, "order1001test", 0)
	for _, table := range []string{"orders", "deliveries", "payments", "items"} {
		b.exec(`SELECT * FROM ` + table + ` WHERE order_uid = 'order1001test'`)
	}
	for _, table := range []string{"items", "payments", "deliveries", "orders"} {
		b.exec(`DELETE FROM ` + table + ` WHERE order_uid = 'order1001test'`)
	}
	_, deleted, _ := b.stamps()
	require.Equal(t, []string{"order1001test"}, deleted)
}

func TestDeletionsArePrunedBehindTheHorizon(t *testing.T) {
	b := database(t)
	b.exec(insertOrder, []string{"old", "new"})
	b.exec(`DELETE FROM orders WHERE order_uid = 'old'`)
	b.exec(`UPDATE order_deletions SET deleted_at = now() - interval '2 hours'`)
	b.exec(`DELETE FROM orders WHERE order_uid = 'new'`)
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 1})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	metrics := prometheus.NewRegistry()
	pruner := prune.New(db, prune.Config{Deletions: time.Hour, Interval: time.Hour}, metrics, zap.NewNop())
	for range 2 {
		require.NoError(t, pruner.Prune(b.ctx))
		_, deleted, _ := b.stamps()
		require.Equal(t, []string{"new"}, deleted)
		var behind, ahead bool
		require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT horizon > '1'::xid8, horizon <= (SELECT min(change_xid::text::numeric)::text::xid8 FROM order_deletions) FROM order_changes_state`).Scan(&behind, &ahead))
		require.True(t, behind && ahead, "the horizon is behind what was pruned and not behind what was not")
	}
	value := func(name string) float64 { return (&worker{t: t, metrics: metrics}).value(name) }
	require.EqualValues(t, 1, value("orderhub_prune_deletions_total"))
	require.InDelta(t, time.Now().Unix(), value("orderhub_prune_success_timestamp_seconds"), 600)
	require.Positive(t, value("orderhub_prune_seconds"))
	require.Zero(t, value("orderhub_prune_failures_total"))
	require.NoError(t, db.Close())
	require.Error(t, pruner.Prune(b.ctx))
	require.EqualValues(t, 1, value("orderhub_prune_failures_total"))
}

// TestEachPruningMovesTheHorizon prunes a deletion whose transaction was still open
// when younger ones were pruned: a reader that has seen the horizon must be told
// that there was something more behind it.
func TestEachPruningMovesTheHorizon(t *testing.T) {
	b := database(t)
	b.exec(insertOrder, []string{"a", "b"})
	open := b.listen()
	_, err := open.PgConn().Exec(b.ctx, `BEGIN; DELETE FROM orders WHERE order_uid = 'a'`).ReadAll()
	require.NoError(t, err)
	b.exec(`DELETE FROM orders WHERE order_uid = 'b'`)
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 1})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	pruned := func() (horizon int64) {
		t.Helper()
		b.exec(`UPDATE order_deletions SET deleted_at = now() - interval '2 hours'`)
		require.NoError(t, prune.New(db, prune.Config{Deletions: time.Hour, Interval: time.Hour}, nil, zap.NewNop()).Prune(b.ctx))
		_, deleted, _ := b.stamps()
		require.Empty(t, deleted)
		require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT horizon::text::bigint FROM order_changes_state`).Scan(&horizon))
		return horizon
	}
	first := pruned()
	require.Equal(t, first, pruned(), "where nothing is pruned, nothing moves")
	_, err = open.PgConn().Exec(b.ctx, `COMMIT`).ReadAll()
	require.NoError(t, err)
	require.Greater(t, pruned(), first)
}

// listen opens a connection that hears the bell.
func (b *bundle) listen() *pgx.Conn {
	b.t.Helper()
	conn, err := pgx.Connect(b.ctx, b.url)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	_, err = conn.Exec(b.ctx, "LISTEN "+orderdb.NotifyChannel)
	require.NoError(b.t, err)
	return conn
}

// rings counts the notifications since the last call. A notification of our own
// marks the end, since they arrive in the order of the commits.
func (b *bundle) rings(listener *pgx.Conn) (n int) {
	b.t.Helper()
	b.exec(`SELECT pg_notify('` + orderdb.NotifyChannel + `', 'end')`)
	for {
		notification, err := listener.WaitForNotification(b.ctx)
		require.NoError(b.t, err)
		if notification.Payload == "end" {
			return n
		}
		n++
	}
}
