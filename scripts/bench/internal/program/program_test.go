package program

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, args ...string) (*Flags, *int) {
	t.Helper()
	f := NewFlags("x", "about", "in full", io.Discard)
	n := f.Int("n", 100, "")
	require.NoError(t, f.Parse(args))
	f.Shrink(map[string]func(){"n": func() { *n = 1 }}, func() bool { return *n >= 100 })
	return f, n
}

func TestSmokeKeepsWhatWasChosen(t *testing.T) {
	f, n := parse(t)
	require.Equal(t, 100, *n)
	require.Equal(t, Document, f.Document)
	f, n = parse(t, "--smoke")
	require.Equal(t, 1, *n)
	require.Empty(t, f.Document)
	f, n = parse(t, "--smoke", "--n", "200")
	require.Equal(t, 200, *n)
	require.Empty(t, f.Document, "what --smoke measures is nothing to keep")
	f, _ = parse(t, "--n", "99")
	require.Empty(t, f.Document, "a small run leaves the document alone")
	f, _ = parse(t, "--n", "99", "--document", "x.md")
	require.Equal(t, "x.md", f.Document)
	require.True(t, f.Chosen("n"))
}

func TestWrongArgumentsAreNamed(t *testing.T) {
	f := NewFlags("x", "about", "in full", io.Discard)
	require.ErrorContains(t, f.Parse([]string{"surplus"}), "surplus")
	require.ErrorContains(t, AtLeast(1, map[string]int{"rounds": 0, "orders": 1}), "--rounds: at least 1, not 0")
	require.NoError(t, AtLeast(time.Second, map[string]time.Duration{"duration": time.Second}))
}

func TestListIsOfPositiveNumbers(t *testing.T) {
	var l List
	require.NoError(t, l.Set("1, 30"))
	require.Equal(t, List{1, 30}, l)
	require.Equal(t, "1,30", l.String())
	require.NoError(t, l.Set(""))
	require.Empty(t, l)
	require.ErrorContains(t, l.Set("1,0"), "no list")
}

func TestSleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Sleep(ctx, time.Hour), context.Canceled)
}
