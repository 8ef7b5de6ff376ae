package postgres

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/datadir"
)

func TestAbandonedFoldersAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	folder := func(name string) (dir, lock string) {
		dir = filepath.Join(os.TempDir(), tempPattern+name)
		lock = filepath.Join(dir, "lock")
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, os.WriteFile(lock, nil, 0o644))
		return dir, lock
	}
	old := time.Now().Add(-time.Hour)
	abandoned, lock := folder("abandoned")
	require.NoError(t, os.Chtimes(lock, old, old))
	held, lock := folder("held")
	holder, err := datadir.Acquire(held)
	require.NoError(t, err)
	defer func() { require.NoError(t, holder.Release()) }()
	require.NoError(t, os.Chtimes(lock, old, old))
	young, _ := folder("young")
	elsewhere := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "lock"), []byte("not ours"), 0o644))
	require.NoError(t, os.Chtimes(filepath.Join(elsewhere, "lock"), old, old))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(os.TempDir(), tempPattern+"link")))

	removeAbandoned()

	require.NoDirExists(t, abandoned)
	require.DirExists(t, held)
	require.DirExists(t, young)
	content, err := os.ReadFile(filepath.Join(elsewhere, "lock"))
	require.NoError(t, err)
	require.Equal(t, "not ours", string(content))
}

func TestLocationThatIsGoneMeansAnEmptyDatabase(t *testing.T) {
	dir := t.TempDir()
	location := filepath.Join(dir, locationName)
	require.NoError(t, os.WriteFile(location, []byte("/no/such/folder\n"), 0o644))
	var said bytes.Buffer
	p, err := openPlace(dir, &said)
	require.NoError(t, err)
	require.Contains(t, said.String(), "/no/such/folder is gone")
	require.NoError(t, p.close(context.Background()))
	if p.base != dir { // run as root, it has found another place
		require.NoError(t, os.RemoveAll(p.base))
	} else {
		require.NoFileExists(t, location)
	}
}
