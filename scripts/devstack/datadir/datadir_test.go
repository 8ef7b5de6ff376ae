package datadir_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/datadir"
)

func TestOneHolderAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on the way")
	lock, err := datadir.Acquire(dir)
	require.NoError(t, err)

	_, err = datadir.Acquire(dir)
	var inUse *datadir.InUseError
	require.ErrorAs(t, err, &inUse)
	require.Equal(t, strconv.Itoa(os.Getpid()), inUse.Pid)
	require.ErrorContains(t, err, dir)

	require.NoError(t, lock.Release())
	lock, err = datadir.Acquire(dir)
	require.NoError(t, err)
	require.False(t, lock.Abandoned())
	require.NoError(t, lock.Release())
}

func TestAbandonedIsTold(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), []byte("4711\n"), 0o644)) // as a killed holder leaves it
	lock, err := datadir.Acquire(dir)
	require.NoError(t, err)
	require.True(t, lock.Abandoned())
	require.NoError(t, lock.Release())
}
