package integration

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// keysWriter is a worker's writer, with its role, and what it last said of foreign keys.
type keysWriter struct {
	*orderwrite.Writer
	b        *bundle
	mu       sync.Mutex
	obstacle []string
	batches  int
}

func (b *bundle) openKeysWriter() *keysWriter {
	b.t.Helper()
	db, err := bundb.Open(config.Database{URL: config.Secret(b.writer)}, bundb.Options{MaxConns: 4, ApplicationName: "shared"})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = db.Close() })
	w := &keysWriter{b: b}
	w.Writer = orderwrite.New(db, orderwrite.Options{
		Timeout: deadline, MaxOrders: 100, Batch: batch.Limits{Busy: 2},
		ForeignKeys: func(obstacle string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.obstacle = append(w.obstacle, obstacle)
		},
	})
	return w
}

// said returns what the writer has said since it was last asked.
func (w *keysWriter) said() (said []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said, w.obstacle = w.obstacle, nil
	return said
}

// stores stores a batch of so many orders, and returns the roles in which they were inserted.
func (w *keysWriter) stores(orders int) (roles []string) {
	w.b.t.Helper()
	w.b.exec(`TRUNCATE roles_seen`)
	w.batches++
	records := make([][]byte, orders)
	for i := range records {
		records[i] = order(w.b.t, fmt.Sprintf("keys-%d-%d", w.batches, i), "1")
	}
	all := entries(w.b.t, records...)
	require.NoError(w.b.t, w.Write(w.b.ctx, all))
	for _, e := range all {
		require.Equal(w.b.t, orderwrite.Stored, e.Outcome)
	}
	rows, err := w.b.db.QueryContext(w.b.ctx, `SELECT DISTINCT role FROM roles_seen`)
	require.NoError(w.b.t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var role string
		require.NoError(w.b.t, rows.Scan(&role))
		roles = append(roles, role)
	}
	require.NoError(w.b.t, rows.Err())
	return roles
}

// seeRoles has a trigger note in which role items are inserted. It runs in both, so it is no
// obstacle.
const seeRoles = `
	CREATE TABLE roles_seen (role text);
	GRANT INSERT ON roles_seen TO PUBLIC;
	CREATE FUNCTION see_role() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO roles_seen VALUES (current_setting('session_replication_role'));
		RETURN NULL;
	END $$;
	CREATE TRIGGER see_role AFTER INSERT ON items FOR EACH STATEMENT EXECUTE FUNCTION see_role();
	ALTER TABLE items ENABLE ALWAYS TRIGGER see_role;`

const foreignTrigger = `CREATE FUNCTION foreign_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; `

// orphans counts parts without an order.
func orphans(ctx context.Context, t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(ctx, `SELECT count(*) FROM
		(SELECT order_uid FROM deliveries UNION ALL SELECT order_uid FROM payments UNION ALL SELECT order_uid FROM items) AS parts
		WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_uid = parts.order_uid)`).Scan(&n))
	return n
}

// The worker's transactions of whole orders skip the look-ups for foreign keys, unless that
// would skip something else as well, on the tables or on their partitions.
func TestWholeOrdersSkipTheLookUpsForForeignKeys(t *testing.T) {
	b := setup(t, 1)
	b.exec(seeRoles)
	w := b.openKeysWriter()
	admin := func(statements string) {
		require.NoError(t, postgres.Execute(b.ctx, postgres.AdminForTest(t, b.url), statements))
	}
	skips := func(name string) {
		require.Equal(t, []string{"replica"}, w.stores(3), name)
		require.Zero(t, orphans(b.ctx, t, b.db))
	}
	skips("at first")
	require.Equal(t, []string{""}, w.said())
	require.Equal(t, []string{"origin"}, w.stores(1), "a single order is not worth it")
	require.Empty(t, w.said())
	_, err := b.db.ExecContext(b.ctx, insertItem, "nobody", 0)
	require.ErrorContains(t, err, "items_order_uid_fkey", "the constraints stay in force for others")

	obstacles := []struct{ obstacle, make, undo string }{
		{"trigger foreign_trigger on payments", foreignTrigger + `CREATE TRIGGER foreign_trigger AFTER INSERT ON payments EXECUTE FUNCTION foreign_trigger()`, `DROP FUNCTION foreign_trigger CASCADE`},
		{"trigger foreign_trigger on orders", foreignTrigger + `CREATE TRIGGER foreign_trigger AFTER INSERT ON orders EXECUTE FUNCTION foreign_trigger(); ALTER TABLE orders ENABLE REPLICA TRIGGER foreign_trigger`, `DROP FUNCTION foreign_trigger CASCADE`},
		{"trigger foreign_trigger on orders", foreignTrigger + `CREATE TRIGGER foreign_trigger BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.locale = 'xx') EXECUTE FUNCTION foreign_trigger();
			ALTER TABLE orders ENABLE ALWAYS TRIGGER foreign_trigger`, `DROP FUNCTION foreign_trigger CASCADE`},
		{"rule foreign_rule on items", `CREATE RULE foreign_rule AS ON INSERT TO items DO ALSO NOTHING`, `DROP RULE foreign_rule ON items`},
		{`trigger "RI_ConstraintTrigger_c_`, `CREATE TABLE brands (brand text PRIMARY KEY); INSERT INTO brands SELECT DISTINCT brand FROM items;
			ALTER TABLE items ADD CONSTRAINT foreign_key FOREIGN KEY (brand) REFERENCES brands`, `DROP TABLE brands CASCADE`},
		{`trigger "Unique_ConstraintTrigger_`, `ALTER TABLE items ADD CONSTRAINT late UNIQUE (order_uid, position) DEFERRABLE`, `ALTER TABLE items DROP CONSTRAINT late`},
	}
	for _, o := range obstacles {
		b.exec(o.make)
		require.Equal(t, []string{"origin"}, w.stores(3), o.obstacle)
		said := w.said()
		require.Len(t, said, 1)
		require.Contains(t, said[0], o.obstacle)
		b.exec(o.undo)
		skips("without " + o.obstacle)
		require.Equal(t, []string{""}, w.said())
	}
	b.exec(`CREATE TABLE others (order_uid text REFERENCES orders)`)
	skips("a key that refers to the orders")
	b.exec(foreignTrigger + `CREATE TRIGGER foreign_trigger AFTER DELETE ON items EXECUTE FUNCTION foreign_trigger()`)
	skips("a trigger for deletions")
	b.exec(`DROP FUNCTION foreign_trigger CASCADE; DROP TABLE others`)

	writer, err := url.Parse(b.writer)
	require.NoError(t, err)
	role := writer.User.Username()
	admin(`REVOKE SET ON PARAMETER session_replication_role FROM ` + role)
	require.Equal(t, []string{"origin"}, w.stores(3))
	require.Equal(t, []string{"the user may not set session_replication_role: as a superuser, GRANT SET ON PARAMETER session_replication_role TO " + role}, w.said())
	admin(`GRANT SET ON PARAMETER session_replication_role TO ` + role)
	skips("with the right again")
}

// A trigger that always runs may leave an order out, whose parts are not to be stored then.
func TestATriggerThatLeavesOrdersOutLeavesNoOrphans(t *testing.T) {
	b := setup(t, 1)
	b.exec(foreignTrigger + `CREATE TRIGGER foreign_trigger BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.order_uid = 'unwanted') EXECUTE FUNCTION foreign_trigger();
		ALTER TABLE orders ENABLE ALWAYS TRIGGER foreign_trigger`)
	all := entries(t, order(t, "wanted", "1"), order(t, "unwanted", "1"))
	require.NoError(t, b.openKeysWriter().Write(b.ctx, all))
	require.Zero(t, orphans(b.ctx, t, b.db))
	require.Equal(t, orderwrite.Stored, all[0].Outcome)
	require.Equal(t, orderwrite.Refused, all[1].Outcome)
}

func TestForeignKeysOfPartitionedTables(t *testing.T) {
	b := setupOn(t, broker.StartForTest(t, broker.Options{}), postgres.ForTest(t), 1)
	partition, err := os.ReadFile("../../../scripts/bench/scale/partition.sql")
	require.NoError(t, err)
	b.exec(string(partition))
	b.writer = postgres.RolesForTest(t, b.url)[migrations.Writer]
	b.exec(seeRoles)
	w := b.openKeysWriter()
	require.Equal(t, []string{"replica"}, w.stores(30))
	require.Zero(t, orphans(b.ctx, t, b.db))
	require.Equal(t, []string{""}, w.said())
	b.exec(foreignTrigger + `CREATE TRIGGER foreign_trigger AFTER INSERT ON items_3 FOR EACH ROW EXECUTE FUNCTION foreign_trigger()`)
	require.Equal(t, []string{"origin"}, w.stores(3))
	require.Equal(t, []string{"trigger foreign_trigger on items_3"}, w.said())
}

// A key that somebody adds while the transaction begins is checked: the transaction sees it,
// since it locks the tables first.
func TestAForeignKeyThatIsAddedMeanwhileHolds(t *testing.T) {
	b := setup(t, 1)
	b.exec(`CREATE TABLE brands (brand text PRIMARY KEY)`)
	w := b.openKeysWriter()
	tx, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, `ALTER TABLE items ADD CONSTRAINT foreign_key FOREIGN KEY (brand) REFERENCES brands`)
	require.NoError(t, err)
	writing := b.write(w.Writer, entries(t, order(t, "a", "1"), order(t, "b", "1")))
	b.waits(1)
	require.NoError(t, tx.Commit())
	b.ends(writing, orderwrite.Refused, orderwrite.Refused)
	require.Len(t, w.said(), 1)
}

// Deletions and new keys by hand, at any time, leave no part without its order.
func TestChangesByHandLeaveNoOrphans(t *testing.T) {
	b := setup(t, 1)
	b.exec(seeRoles)
	w := b.openKeysWriter()
	done := make(chan struct{})
	var byHand sync.WaitGroup
	for _, statement := range []string{
		`DELETE FROM orders WHERE order_uid IN (SELECT order_uid FROM orders ORDER BY random() LIMIT 2)`,
		`UPDATE orders SET order_uid = order_uid || '-new' WHERE order_uid IN (SELECT o.order_uid FROM orders o
			WHERE NOT EXISTS (SELECT FROM items i WHERE i.order_uid = o.order_uid) ORDER BY random() LIMIT 1)`,
		`WITH gone AS (DELETE FROM items WHERE order_uid IN (SELECT order_uid FROM orders ORDER BY random() LIMIT 1) RETURNING order_uid),
			parts AS (DELETE FROM deliveries WHERE order_uid IN (SELECT order_uid FROM gone))
			DELETE FROM payments WHERE order_uid IN (SELECT order_uid FROM gone)`,
	} {
		byHand.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_, _ = b.db.ExecContext(b.ctx, statement) // it may wait for another one in a circle
				}
			}
		})
	}
	for range 50 {
		require.Equal(t, []string{"replica"}, w.stores(20))
	}
	close(done)
	byHand.Wait()
	require.Zero(t, orphans(b.ctx, t, b.db))
	require.Equal(t, []string{""}, w.said())
}
