package postgres

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/process"
)

func TestNamedBinariesGoFirst(t *testing.T) {
	t.Setenv(BinariesVariable, t.TempDir())
	_, err := findBinaries(context.Background(), 0, io.Discard)
	require.ErrorContains(t, err, BinariesVariable)
}

func TestDataOfAnotherVersionIsExplained(t *testing.T) {
	_, err := findBinaries(context.Background(), 9, io.Discard)
	require.ErrorContains(t, err, "made by PostgreSQL 9")

	dir := t.TempDir()
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) 17.5'\n"
	for _, name := range []string{"postgres", "initdb"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	t.Setenv(BinariesVariable, dir)
	_, err = findBinaries(context.Background(), 16, io.Discard)
	require.ErrorContains(t, err, "is PostgreSQL 17, but the data was made by PostgreSQL 16")
	found, err := findBinaries(context.Background(), 17, io.Discard)
	require.NoError(t, err)
	require.Equal(t, binaries{dir: dir, major: 17}, found)
}

// TestFetch downloads some 10 MB, so it runs only when asked to, and in CI.
func TestFetch(t *testing.T) {
	if os.Getenv("ORDERHUB_TEST_FETCH") == "" && os.Getenv(process.StrictVariable) != "1" {
		t.Skip("SKIPPED: downloads PostgreSQL; set ORDERHUB_TEST_FETCH=1 to run it")
	}
	cache := t.TempDir()
	t.Setenv(CacheVariable, cache)
	found, err := fetch(context.Background(), 17, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 17, found.major)
	again, err := fetch(context.Background(), 17, io.Discard)
	require.NoError(t, err)
	require.Equal(t, found, again)
	entries, err := os.ReadDir(cache)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing but the programs is left")

	// The fetched programs run a server.
	t.Setenv(BinariesVariable, found.dir)
	if os.Geteuid() == 0 {
		for dir := found.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
			require.NoError(t, os.Chmod(dir, 0o755))
		}
	}
	ServerForTest(t, Options{Unsafe: true})
}
