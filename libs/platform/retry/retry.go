// Package retry waits between attempts at what must succeed in the end.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Backoff hands out growing waits with jitter, from 50 ms up to Max, so that
// many waiting processes do not come back in step. It has no limit on attempts.
// Not safe for concurrent use.
type Backoff struct{ exponential *backoff.ExponentialBackOff }

// NewBackoff returns a Backoff whose waits grow to about longest.
func NewBackoff(longest time.Duration) *Backoff {
	e := backoff.NewExponentialBackOff()
	e.InitialInterval = min(50*time.Millisecond, longest)
	e.MaxInterval = longest
	e.Multiplier = 2
	e.RandomizationFactor = 0.5
	return &Backoff{exponential: e}
}

// Wait sleeps for the next wait, or until ctx ends, whose cause it then returns.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.exponential.NextBackOff()) }

// Reset starts over with short waits, after a success.
func (b *Backoff) Reset() { b.exponential.Reset() }

// Sleep waits for d, or until ctx ends, whose cause it then returns.
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
