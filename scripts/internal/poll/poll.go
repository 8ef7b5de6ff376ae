// Package poll waits for what nothing tells about.
package poll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
)

// Until tries again and again until try succeeds. If ctx ends first, the error has the
// context's cause and what try said last.
func Until(ctx context.Context, every time.Duration, try func() error) error {
	last := errors.New("no attempt has ended")
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err // not that the attempt was ended
		}
		if ended := retry.Sleep(ctx, every); ended != nil {
			return fmt.Errorf("%w: %w", ended, last)
		}
	}
}
