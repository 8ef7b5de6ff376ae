package rig

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResultsSayHowToRepeatThem(t *testing.T) {
	file := t.TempDir() + "/x.md"
	f := &Flags{Document: file, Arguments: []string{"x", "--n", "7"}}
	f.save("section", "the body", "15.9")
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	content := string(raw)
	require.Contains(t, content, "the body")
	require.Contains(t, content, "PostgreSQL 15.9")
	require.Contains(t, content, "`make build && go run ./scripts/bench x --n 7`")
}

// A failure ends what runs at once, does what was deferred, and tells its place. Other
// panics are none.
func TestFailuresEndTheBenchmark(t *testing.T) {
	broken := errors.New("broken")
	deferred := false
	err := Try(func() {
		defer func() { deferred = true }()
		Together(t.Context(),
			func(ctx context.Context) { <-ctx.Done() },
			func(context.Context) { Check(broken) })
	})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "flags_test.go:")
	require.True(t, deferred)
	require.NoError(t, Try(func() { require.Equal(t, 1, Must(1, nil)) }))
	require.PanicsWithValue(t, "a defect", func() { _ = Try(func() { panic("a defect") }) })
}
