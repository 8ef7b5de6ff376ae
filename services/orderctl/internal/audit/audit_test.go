package audit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "audit.jsonl")
	e := Entry{At: time.Unix(1_700_000_000, 0), Actor: "ann", Action: "reveal", Letters: []string{"orders/0/1/aaaaaaaa"}}
	require.NoError(t, Append(path, e))
	require.NoError(t, Append(path, e))
	log, err := os.ReadFile(path)
	require.NoError(t, err)
	line := `{"at":"2023-11-14T22:13:20Z","actor":"ann","action":"reveal","letters":["orders/0/1/aaaaaaaa"]}` + "\n"
	require.Equal(t, line+line, string(log))
	require.Error(t, Append(filepath.Join(path, "below a file"), e))
}
