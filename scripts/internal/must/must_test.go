package must

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// A failure ends what runs at once, does what was deferred, and tells its place. Other
// panics are none.
func TestFailuresEndTheWork(t *testing.T) {
	broken := errors.New("broken")
	deferred := false
	err := Try(func() {
		defer func() { deferred = true }()
		Together(t.Context(),
			func(ctx context.Context) { <-ctx.Done() },
			func(context.Context) { Succeed(broken) })
	})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "must_test.go:")
	require.True(t, deferred)
	require.Equal(t, broken, Cause(func() { Succeed(broken) }))
	require.NoError(t, Cause(func() {}))
	require.NoError(t, Try(func() { require.Equal(t, 1, Get(1, nil)) }))
	require.PanicsWithValue(t, "a defect", func() { _ = Try(func() { panic("a defect") }) })
}
