package integration

import (
	"database/sql"
	"time"

	"github.com/stretchr/testify/require"
)

// backUpTables are what backUp and goBack need.
const backUpTables = `
	CREATE TABLE backup_orders AS SELECT * FROM orders;
	CREATE TABLE backup_deliveries AS SELECT * FROM deliveries;
	CREATE TABLE backup_payments AS SELECT * FROM payments;
	CREATE TABLE backup_items AS SELECT * FROM items;
	CREATE TABLE backup_ingest_positions AS SELECT * FROM ingest_positions;
	CREATE TABLE backup_erasures AS SELECT * FROM erasures;
	CREATE TABLE backup_order_tombstones AS SELECT * FROM order_tombstones;
	CREATE TABLE backup_order_versions AS SELECT * FROM order_versions;`

const terminateWorkers = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ingest-worker'`

// parentsFirst are the tables that a worker writes.
var parentsFirst = []string{"orders", "deliveries", "payments", "items", "ingest_positions", "erasures", "order_tombstones", "order_versions"}

// backUp remembers the tables as of one moment. A backup from before a worker first
// started is of no use, as the documentation says: it has no positions.
func (c *propertyCase) backUp() {
	c.t.Helper()
	for until := time.Now().Add(2 * time.Second); len(c.members) > 0 && len(c.positions()) == 0 && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond) // unless a fault keeps it from starting
	}
	tx, err := c.slot.db.BeginTx(c.ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(c.t, err)
	defer func() { _ = tx.Rollback() }()
	var positions int
	require.NoError(c.t, tx.QueryRowContext(c.ctx, `SELECT count(*) FROM ingest_positions WHERE topic = $1`, c.topic).Scan(&positions))
	if positions == 0 {
		return
	}
	for _, table := range parentsFirst {
		_, err = tx.ExecContext(c.ctx, `DELETE FROM backup_`+table)
		require.NoError(c.t, err)
		_, err = tx.ExecContext(c.ctx, `INSERT INTO backup_`+table+` SELECT * FROM `+table)
		require.NoError(c.t, err)
	}
	require.NoError(c.t, tx.QueryRowContext(c.ctx, `SELECT coalesce(pg_sequence_last_value('erasures_version'), 1)`).Scan(&c.version))
	require.NoError(c.t, tx.Commit())
	c.backedUp = true
}

// goBack puts the tables back to what backUp remembered, at one moment, and ends what was
// in progress, as the restart of a restored server does.
func (c *propertyCase) goBack() {
	c.t.Helper()
	if c.lock != nil {
		require.NoError(c.t, c.lock.Rollback())
		c.lock = nil
	}
	tx, err := c.slot.db.BeginTx(c.ctx, nil)
	require.NoError(c.t, err)
	defer func() { _ = tx.Rollback() }()
	execute := func(query string) {
		c.t.Helper()
		_, err := tx.ExecContext(c.ctx, query)
		require.NoError(c.t, err, query)
	}
	for locked := false; !locked; { // a worker may begin another transaction meanwhile
		c.exec(terminateWorkers)
		execute(`SAVEPOINT unlocked; SET LOCAL lock_timeout = '100ms'`)
		_, err := tx.ExecContext(c.ctx, `LOCK TABLE order_tombstones, order_versions, erasures, ingest_positions, orders, deliveries, payments, items IN ACCESS EXCLUSIVE MODE`)
		if locked = err == nil; !locked {
			execute(`ROLLBACK TO unlocked`)
		}
	}
	c.exec(terminateWorkers) // what waits for the locks has a snapshot of before
	execute(`ALTER TABLE orders DISABLE TRIGGER USER; ALTER TABLE payments DISABLE TRIGGER USER`)
	execute(`DELETE FROM orders; DELETE FROM ingest_positions; DELETE FROM erasures; DELETE FROM order_tombstones; DELETE FROM order_versions`)
	c.exec(`SELECT setval('erasures_version', $1)`, c.version)
	for _, table := range parentsFirst {
		execute(`INSERT INTO ` + table + ` SELECT * FROM backup_` + table)
	}
	execute(`ALTER TABLE orders ENABLE TRIGGER USER; ALTER TABLE payments ENABLE TRIGGER USER`)
	require.NoError(c.t, tx.Commit())
	c.wentBack = true
}
