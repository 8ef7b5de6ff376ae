package poll

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUntilSaysWhatIsMissing(t *testing.T) {
	attempts, missing := 0, errors.New("missing")
	require.NoError(t, Until(t.Context(), time.Millisecond, func() error {
		if attempts++; attempts < 3 {
			return missing
		}
		return nil
	}))
	require.Equal(t, 3, attempts)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	attempts = 0
	err := Until(ctx, time.Millisecond, func() error {
		if attempts++; attempts < 3 {
			return missing
		}
		cancel(why)
		return ctx.Err()
	})
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, err, missing)
}
