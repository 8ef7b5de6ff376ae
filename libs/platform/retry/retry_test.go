package retry

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWaitsGrowToTheLongestAndNoFurther(t *testing.T) {
	b := NewBackoff(time.Second)
	var longest time.Duration
	for range 50 {
		wait := b.exponential.NextBackOff()
		require.Positive(t, wait, "there is no last attempt")
		longest = max(longest, wait)
	}
	require.Greater(t, longest, 400*time.Millisecond)
	require.LessOrEqual(t, longest, 1500*time.Millisecond, "the longest with its jitter")
	b.Reset()
	require.LessOrEqual(t, b.exponential.NextBackOff(), 75*time.Millisecond)
}

func TestWaitEndsWithTheContext(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	require.ErrorIs(t, NewBackoff(time.Hour).Wait(ctx), why)
}
