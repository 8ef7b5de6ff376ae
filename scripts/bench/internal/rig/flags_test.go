package rig

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResultsSayHowToRepeatThem(t *testing.T) {
	file := t.TempDir() + "/x.md"
	s := &Site{Flags: &Flags{Document: file, Arguments: []string{"x", "--n", "7"}}, version: "15.9"}
	s.Save("section", "the body")
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	content := string(raw)
	require.Contains(t, content, "the body")
	require.Contains(t, content, "PostgreSQL 15.9")
	require.Contains(t, content, "`make build && go run ./scripts/bench x --n 7`")
}
