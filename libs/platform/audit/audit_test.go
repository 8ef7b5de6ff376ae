package audit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func testSettings(t *testing.T) Settings {
	t.Helper()
	return Settings{To: ToFile, File: filepath.Join(t.TempDir(), "new", "audit.jsonl"), FileBytes: 1 << 20, Key: "0123456789abcdef"}
}

func TestWriteThenRead(t *testing.T) {
	s := testSettings(t)
	l, err := Open(s, Options{Program: "test"})
	require.NoError(t, err)
	first := Event{Action: "reveal", Targets: []string{"a\"b\n", "c"}, Why: "asked", Allowed: true, Actor: "ann", ActorKind: "jwt", From: "::1", RequestID: "r"}
	second := Event{Action: "erase", Targets: []string{"x"}, Actor: "bob\xff"}
	require.NoError(t, l.Write(t.Context(), first))
	require.NoError(t, l.Write(t.Context(), second))
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Write(t.Context(), first), ErrClosed)

	records, err := Read(s, 10)
	require.NoError(t, err)
	require.Len(t, records, 2)
	second.Actor = "bob\ufffd"
	require.Equal(t, second, records[0].Event)
	require.Equal(t, first, records[1].Event)
	require.Equal(t, uint64(3), records[0].Seq)
	info, err := os.Stat(s.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}
