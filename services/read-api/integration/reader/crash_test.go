package reader_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// held is a sink: the orders that a reader has.
type held map[string]bool

func (h held) Put(o changes.Order) bool {
	h[o.OrderUID] = true
	return true
}

func (h held) Delete(uid string) bool {
	delete(h, uid)
	return true
}

func (held) LeaveOut() {}

// TestIdsThatACrashGivesOutAgain kills PostgreSQL after transactions that left nothing
// on the disk. Their ids, which the reader's snapshot shows as past, are given to new
// transactions.
func TestIdsThatACrashGivesOutAgain(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true, Settings: map[string]string{
		"wal_writer_delay": "10s", "autovacuum": "off", // nobody else writes the log to the disk
	}})
	migrate(t, server.URL())
	connect(t, server.URL()).withVersions()
	config := func() (*pgx.ConnConfig, error) { return pgx.ParseConfig(server.URL()) }
	source := changes.NewSource(config, changes.Options{CheckSchema: func(context.Context) error { return nil }})
	defer source.Close()
	has := held{}
	at, err := source.Snapshot(t.Context(), has, func(int64, int64) {})
	require.NoError(t, err)

	var before, after string
	for attempt := 1; ; attempt++ {
		require.LessOrEqual(t, attempt, 10, "the ids of the transactions that rolled back are never given out again")
		before, after = fmt.Sprint("before-", attempt), fmt.Sprint("after-", attempt)
		client := connect(t, server.URL())
		client.insert(before)
		for range 50 {
			client.run(`BEGIN; UPDATE orders SET locale = 'xx'; ROLLBACK`)
		}
		round, err := source.Tail(t.Context(), at, has)
		require.NoError(t, err)
		at = round.Position
		source.Close()
		require.NoError(t, server.Kill())
		require.NoError(t, server.Restart(t.Context()))
		client = connect(t, server.URL())
		client.insert(after)
		client.run(`DELETE FROM orders WHERE order_uid = '` + before + `'`)
		var last uint64
		require.NoError(t, client.conn.QueryRow(t.Context(), `SELECT max(change_xid)::text::bigint FROM order_deletions`).Scan(&last))
		if last < at.Snapshot.Xmax {
			break
		}
	}
	client := connect(t, server.URL())
	for range 50 { // the reader's next snapshot looks later than the one before the crash
		client.run(`SELECT pg_current_xact_id()`)
	}
	token, err := changes.ParseToken(at.Token())
	require.NoError(t, err)
	for name, from := range map[string]changes.Position{"the cache's position": at, "a stream's": token} {
		now := held{before: true}
		round, err := source.Tail(t.Context(), from, now)
		require.NoError(t, err, name)
		require.GreaterOrEqual(t, round.Position.Snapshot.Xmax, at.Snapshot.Xmax)
		require.Equal(t, held{after: true}, now, name)
	}
}
