package pipeline

import (
	"context"
	"errors"

	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
)

// retried are the erased orders that the writer knows.
type retried struct{ c *partition }

func (r retried) Known() *erased.Known { return r.c.store.Known() }

func (r retried) Refresh(ctx context.Context) (changed bool, err error) {
	var behind *orderwrite.BehindError
	err = r.c.retry(ctx, r.c.id, func(ctx context.Context) (err error) {
		if changed, err = r.c.store.Refresh(ctx); !errors.As(err, &behind) {
			return err
		}
		return nil
	}, errclass.Of)
	if err == nil && behind != nil {
		err = behind
	}
	return changed, err
}
