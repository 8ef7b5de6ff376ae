package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

func TestAStandbyFollowsAndTakesOver(t *testing.T) {
	ctx := context.Background()
	primary := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	run(t, primary.URL(), "CREATE TABLE kept (n int)")
	standby := postgres.StandbyForTest(t, primary, postgres.Options{Unsafe: true})
	follows := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return count(t, standby.URL()) == n }, 60*time.Second, 10*time.Millisecond)
	}
	run(t, primary.URL(), "INSERT INTO kept VALUES (1)")
	follows(1)
	_, err := connect(t, standby.URL()).Exec(ctx, "INSERT INTO kept VALUES (2)")
	require.ErrorContains(t, err, "read-only")

	require.NoError(t, standby.Kill())
	run(t, primary.URL(), "INSERT INTO kept VALUES (2)")
	require.NoError(t, standby.Restart(ctx))
	follows(2)

	require.NoError(t, primary.Kill())
	require.NoError(t, standby.Promote(ctx))
	run(t, standby.URL(), "INSERT INTO kept VALUES (3)")
	follows(3)
}

func TestABackupIsRestored(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	server.NeedForTest(t, "pg_basebackup")
	run(t, server.URL(), "CREATE TABLE kept (n int)")
	run(t, server.URL(), "INSERT INTO kept VALUES (1)")
	require.NoError(t, server.BackUp(t.Context()))
	run(t, server.URL(), "INSERT INTO kept VALUES (2)")
	require.NoError(t, server.Restore(t.Context()))
	require.Equal(t, 1, count(t, server.URL()))
	require.Error(t, server.Restore(t.Context()), "the backup is used up")
}
