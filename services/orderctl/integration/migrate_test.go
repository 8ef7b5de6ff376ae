package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// TestAMigrationThatMeetsADeadlockIsTriedAgain has a client that holds the items and wants the
// orders, as one that changes a part by hand, while a step holds the orders and wants the items.
func TestAMigrationThatMeetsADeadlockIsTriedAgain(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{})
	t.Setenv("DATABASE_URL", server.URL())
	db := openURL(t, server.URL())
	_, err := migrations.Up(t.Context(), db)
	require.NoError(t, err)
	_, err = migrations.DownTo(t.Context(), db, 9)
	require.NoError(t, err)
	client, err := openURL(t, server.AdminURL()).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = client.Rollback() }()
	for _, statement := range []string{`SET LOCAL deadlock_timeout = '1h'`, `LOCK TABLE items IN ROW EXCLUSIVE MODE`} { // so the step is ended
		_, err = client.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	done := make(chan result, 1)
	go func() { done <- orderctlRun(t.Context(), "migrate") }()
	require.Eventually(t, func() bool {
		var waits bool
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'items'::regclass AND NOT granted)`).Scan(&waits))
		return waits
	}, time.Minute, 5*time.Millisecond)
	_, err = client.ExecContext(t.Context(), `LOCK TABLE orders IN ROW EXCLUSIVE MODE`)
	require.NoError(t, err)
	require.NoError(t, client.Commit())
	got := <-done
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stdout, "00010")
	status, err := migrations.Status(t.Context(), db)
	require.NoError(t, err)
	require.False(t, status[len(status)-1].AppliedAt.IsZero())
}
