// Package retry waits between attempts.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Backoff yields growing waits, from 50 ms up to a longest one. Their jitter keeps
// processes that wait for the same thing from retrying in step. The number of
// attempts is not limited. Not safe for concurrent use.
type Backoff struct{ exponential *backoff.ExponentialBackOff }

// NewBackoff returns a Backoff whose waits grow to longest, plus or minus a half.
func NewBackoff(longest time.Duration) *Backoff {
	e := backoff.NewExponentialBackOff()
	e.InitialInterval = min(50*time.Millisecond, longest)
	e.MaxInterval = longest
	e.Multiplier = 2
	e.RandomizationFactor = 0.5
	return &Backoff{exponential: e}
}

// Wait sleeps for the next wait. If ctx ends before, it returns the context's cause.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.exponential.NextBackOff()) }

// Reset starts again with short waits. Call it after a success.
func (b *Backoff) Reset() { b.exponential.Reset() }

// Sleep waits for d. If ctx ends before, it returns the context's cause.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
