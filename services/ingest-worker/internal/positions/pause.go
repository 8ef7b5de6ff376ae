package positions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// WhilePaused returns when the group is not paused, or ctx ends.
func (k *Keeper) WhilePaused(ctx context.Context) {
	k.mu.Lock()
	resumed := k.resumed
	k.mu.Unlock()
	if resumed == nil {
		return
	}
	select {
	case <-resumed:
	case <-ctx.Done():
	}
}

// lookForPause looks whether an operator has paused the group. After an error it stays as
// it was.
func (k *Keeper) lookForPause(ctx context.Context) error {
	if has, err := orderdb.Has(ctx, k.db, "ingest_pauses"); err != nil || !has {
		return err
	}
	var pause orderdb.IngestPause
	err := k.db.NewSelect().Model(&pause).Where("consumer_group = ?", k.cfg.Group).Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("look whether the workers are paused: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch paused := err == nil; {
	case paused && k.resumed == nil:
		k.resumed = make(chan struct{})
		k.paused.Set(1)
		k.component.Ready("paused since " + pause.Since.UTC().Format(time.RFC3339))
		k.log.Warn("paused by an operator: records wait in Kafka; orderctl worker status says who paused the workers and why",
			zap.String("group", k.cfg.Group), zap.Time("since", pause.Since))
	case !paused && k.resumed != nil:
		close(k.resumed)
		k.resumed = nil
		k.paused.Set(0)
		k.component.Ready("")
		k.log.Info("no longer paused", zap.String("group", k.cfg.Group))
	}
	return nil
}
