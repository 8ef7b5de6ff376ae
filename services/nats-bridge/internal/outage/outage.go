// Package outage reports that a part waits for something that is away.
package outage

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	// remindEvery is how often the log repeats an outage that lasts.
	remindEvery = 30 * time.Second
	maxBackoff  = 5 * time.Second
)

// Outage is the state of one dependency, as readiness, a metric and the log show
// it. Safe for concurrent use.
type Outage struct {
	name      string
	component *health.Component
	gauge     prometheus.Gauge
	waited    prometheus.Counter
	retries   prometheus.Counter
	log       *zap.Logger

	mu              sync.Mutex
	since, reminded time.Time // zero without an outage
	counted         time.Time // until then the outage is in waited
}

// Metrics of all dependencies.
type Metrics struct {
	waiting         *prometheus.GaugeVec
	waited, retries *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	return &Metrics{
		waiting: metric.Gauges[string](r, "orderhub_bridge_waiting", "1 while the bridge waits for NATS or for Kafka.", "for"),
		waited:  metric.Counters[string](r, "orderhub_bridge_waited_seconds_total", "Time during which the bridge waited.", "for"),
		retries: metric.Counters[string](r, "orderhub_bridge_retries_total", "Failed attempts that are repeated.", "for"),
	}
}

// New returns the state of a dependency that has not been reached yet.
func New(name string, component *health.Component, metrics *Metrics, log *zap.Logger) *Outage {
	return &Outage{
		name: name, component: component, log: log, gauge: metrics.waiting.WithLabelValues(name),
		waited: metrics.waited.WithLabelValues(name), retries: metrics.retries.WithLabelValues(name),
	}
}

// Failed counts an attempt that failed and is repeated.
func (o *Outage) Failed() { o.retries.Inc() }

// Retry runs session again and again until ctx ends, whose cause it returns. A
// session calls works once the dependency can be used, and returns why it cannot be
// used any more.
func (o *Outage) Retry(ctx context.Context, session func(ctx context.Context, works func()) error) error {
	backoff := retry.NewBackoff(maxBackoff)
	works := func() { o.End(); backoff.Reset() }
	for {
		err := session(ctx, works)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		o.Failed()
		o.Begin(err)
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// Begin says that the dependency cannot be used, and why. Repeated calls are one
// outage.
func (o *Outage) Begin(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() {
		o.since, o.counted = now, now
	}
	o.waited.Add(now.Sub(o.counted).Seconds())
	o.counted = now
	o.gauge.Set(1)
	o.component.NotReady("waiting since " + o.since.UTC().Format(time.RFC3339) + ": " + err.Error())
	if now.Sub(o.reminded) >= remindEvery {
		o.reminded = now
		o.log.Warn("waiting for a dependency", zap.String("dependency", o.name), zap.Duration("duration_seconds", now.Sub(o.since).Round(time.Millisecond)), zap.Error(err))
	}
}

// End says that the dependency works.
func (o *Outage) End() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gauge.Set(0)
	if o.component.Ready("") && o.since.IsZero() {
		o.log.Info("dependency ready", zap.String("dependency", o.name))
	}
	if !o.since.IsZero() {
		o.log.Info("dependency ready again", zap.String("dependency", o.name), zap.Duration("duration_seconds", time.Since(o.since).Round(time.Millisecond)))
		o.waited.Add(time.Since(o.counted).Seconds())
		o.since, o.reminded = time.Time{}, time.Time{}
	}
}
