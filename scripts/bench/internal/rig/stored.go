package rig

import (
	"context"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
)

// Metrics of the services that the programs look at.
const (
	MetricStored     = `orderhub_ingest_records_total{outcome="stored"}`
	MetricDuplicate  = `orderhub_ingest_records_total{outcome="duplicate"}`
	MetricDeadLetter = `orderhub_ingest_records_total{outcome="dead_letter"}`
	MetricCached     = `orderhub_cache_orders`
	MetricCacheBytes = `orderhub_cache_bytes`
)

// WaitStored returns when the workers have stored so many orders. It looks
// rarely at first, since that costs them a little.
func WaitStored(ctx context.Context, workers []*Service, orders int) error {
	began := time.Now()
	for {
		stored := 0
		for _, w := range workers {
			metrics, err := w.Metrics(ctx)
			if err != nil {
				return err
			}
			if wrong := metrics[MetricDeadLetter] + metrics[MetricDuplicate]; wrong > 0 {
				return fmt.Errorf("%.0f orders were dead letters or duplicates, which none of them is", wrong)
			}
			stored += int(metrics[MetricStored])
		}
		if stored >= orders {
			return nil
		}
		if err := retry.Sleep(ctx, untilNextLook(time.Since(began), stored, orders)); err != nil {
			return fmt.Errorf("stored %d of %d orders: %w", stored, orders, err)
		}
	}
}

const shortestLook, longestLook = 5 * time.Millisecond, 500 * time.Millisecond

// untilNextLook is half of the time that the rest will take, by the rate so far.
func untilNextLook(since time.Duration, stored, orders int) time.Duration {
	if stored == 0 {
		return 10 * shortestLook
	}
	rest := time.Duration(float64(since) * float64(orders-stored) / float64(stored))
	return min(max(rest/2, shortestLook), longestLook)
}
