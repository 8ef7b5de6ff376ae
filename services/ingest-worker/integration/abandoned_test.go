package integration

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// A session that resembles a worker's by its role, its application_name and the age of
// its transaction, and even locks what the worker waits for, is not ended: nothing proves
// that it is a worker's. The same session with a writer's advisory lock is ended.
func TestOnlyAProvenWritersTransactionIsEnded(t *testing.T) {
	b := database(t)
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 4, ApplicationName: "ingest-worker"})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	open := func(locks string) pgx.Tx {
		conn, err := pgx.Connect(b.ctx, b.url)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		tx, err := conn.Begin(b.ctx)
		require.NoError(t, err)
		_, err = tx.Exec(b.ctx, `SET application_name = 'ingest-worker'; SELECT `+locks+`; LOCK TABLE items IN SHARE MODE`)
		require.NoError(t, err)
		return tx
	}
	const timeout = 100 * time.Millisecond
	w := orderwrite.New(db, orderwrite.Options{Timeout: timeout, MaxOrders: 10, Batch: batch.Limits{Count: 10}})
	all := entries(t, order(t, "a", "1"))

	resembles := open(`pg_advisory_xact_lock_shared(1869767781)`) // of one number, which is another lock
	for range 2 {                                                 // the second looks for transactions that are as old as the first one
		require.ErrorIs(t, w.Write(b.ctx, all), context.DeadlineExceeded)
	}
	require.NoError(t, resembles.Commit(b.ctx), "the session was ended")
	written := func() (bool, string) { return w.Write(b.ctx, all) == nil, "timed out" }
	b.eventually("the order is written", written)

	proven, all := open(`pg_advisory_xact_lock_shared(1869767781, 1)`), entries(t, order(t, "b", "1"))
	require.ErrorIs(t, w.Write(b.ctx, all), context.DeadlineExceeded)
	b.eventually("the writer's transaction is ended", written)
	require.Error(t, proven.Commit(b.ctx))
}
