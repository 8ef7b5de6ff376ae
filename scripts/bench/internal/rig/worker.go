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

// workerTimeout is how long workers may take to be ready, and to join their group.
const workerTimeout = time.Minute

// StartWorker starts an ingest-worker on a topic, and waits until it is ready.
func (s *Site) StartWorker(ctx context.Context, topic, database string, environment ...string) (*Service, error) {
	return s.startService(ctx, "ingest-worker", workerTimeout, append(append(s.kafka(topic), "DATABASE_URL="+database), environment...)...)
}

// StartBridge starts a nats-bridge into a topic, and waits until it is ready.
func (s *Site) StartBridge(ctx context.Context, topic string, environment ...string) (*Service, error) {
	return s.startService(ctx, "nats-bridge", workerTimeout, append(s.kafka(topic), environment...)...)
}

// HeldWorkers are workers that wait for the broker to release a topic's records.
type HeldWorkers struct {
	Workers []*Service
	broker  *Broker
}

// HoldWorkers starts workers of a group and returns once all of them have joined it
// and have asked for records, which the broker holds back.
func (s *Site) HoldWorkers(ctx context.Context, count int, topic, group, database string) (*HeldWorkers, error) {
	if err := s.Broker.Hold(); err != nil {
		return nil, err
	}
	held := &HeldWorkers{broker: s.Broker}
	for range count {
		worker, err := s.StartWorker(ctx, topic, database, "KAFKA_GROUP="+group)
		if err != nil {
			return nil, err
		}
		held.Workers = append(held.Workers, worker)
	}
	ctx, cancel := context.WithTimeout(ctx, workerTimeout)
	defer cancel()
	if err := s.Broker.WaitMembers(ctx, group, count); err != nil {
		return nil, err
	}
	for _, worker := range held.Workers { // the rebalance may have interrupted them
		if err := worker.WaitReady(ctx); err != nil {
			return nil, err
		}
	}
	return held, nil
}

// Drain releases the records, and returns once the workers have stored so many
// orders. It looks rarely at first, since that costs the workers a little.
func (h *HeldWorkers) Drain(ctx context.Context, orders int) error {
	if err := h.broker.Release(); err != nil {
		return err
	}
	began := time.Now()
	for {
		stored := 0
		for _, w := range h.Workers {
			metrics, err := w.Metrics(ctx)
			if err != nil {
				return err
			}
			if err := CheckNew(metrics); err != nil {
				return err
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

// Stop ends the workers.
func (h *HeldWorkers) Stop() {
	for _, w := range h.Workers {
		_ = w.Stop() // Site.Close reports what did not stop
	}
}

// CheckNew returns an error where a worker took an order for a dead letter or a
// duplicate. The benchmarks' orders are valid and new.
func CheckNew(metrics map[string]float64) error {
	if wrong := metrics[MetricDeadLetter] + metrics[MetricDuplicate]; wrong > 0 {
		return fmt.Errorf("%.0f valid new orders became dead letters or duplicates", wrong)
	}
	return nil
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
