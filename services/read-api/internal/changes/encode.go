package changes

import (
	"context"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/model"
)

// encode gives the orders that arrive to sink, on all processors.
func encode(ctx context.Context, group *errgroup.Group, orders <-chan []part[*model.Order], sink Sink, progress func(done int64)) {
	var done atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			var canonical []byte
			for batch := range orders {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				for _, o := range batch {
					canonical = model.AppendCanonical(canonical[:0], o.value)
					sink.Put(o.uid, canonical)
				}
				progress(done.Add(int64(len(batch))))
			}
			return nil
		})
	}
}
