package cli

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// retentionInterval is about how often the console purges letters. With a shorter
// retention it is the retention.
const retentionInterval = time.Hour

// retention purges letters that were resolved longer ago than age, in the background.
// Several consoles may do so: one is enough, and a purge excludes others.
func retention(queue *dlq.Queue, age time.Duration, source string, records *audit.Log, log *zap.Logger) *lifecycle.Loop {
	return lifecycle.NewLoop("retention", func(ctx context.Context) error {
		for {
			interval := min(retentionInterval, age)
			if err := retry.Sleep(ctx, interval/2+rand.N(interval)); err != nil {
				return err
			}
			if err := purgeOld(ctx, queue, dlq.PurgeOptions{Before: time.Now().Add(-age), Source: source}, records); err != nil && ctx.Err() == nil {
				log.Warn("old letters not purged, retrying later", zap.Error(err))
			}
		}
	}, nil)
}

func purgeOld(ctx context.Context, queue *dlq.Queue, o dlq.PurgeOptions, records *audit.Log) error {
	ids, err := queue.Purgeable(ctx, o)
	if err != nil || len(ids) == 0 {
		return err
	}
	for i, id := range ids {
		ids[i] = mask.ID(id)
	}
	err = records.Write(ctx, audit.Event{Action: "purge", Targets: ids, Why: "LETTERS_RETENTION", Allowed: true, Actor: consoleName, ActorKind: "program"})
	if err == nil {
		err = queue.Purge(ctx, o, func(string) {})
	}
	if errors.Is(err, dlq.ErrInterfered) { // by another console, say
		return nil
	}
	return err
}
