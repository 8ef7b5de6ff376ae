// Package metric makes the metrics of Orderhub's programs. Each is registered when it is
// made, with every series that is known in advance: increase() does not see the event
// that creates a series. Histograms are native as well as classic; see docs/metrics.md.
package metric

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/orderhub/orderhub/libs/platform/tracing"
)

type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// Counter registers a counter.
func Counter(r prometheus.Registerer, name, help string) prometheus.Counter {
	return promauto.With(r).NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// Counters registers a counter with a label, whose known values count from 0.
func Counters[V ~string](r prometheus.Registerer, name, help, label string, known ...V) *prometheus.CounterVec {
	counters := promauto.With(r).NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	for _, value := range known {
		counters.WithLabelValues(string(value))
	}
	return counters
}

// CounterOf registers a counter whose value is counted elsewhere.
func CounterOf[N number](r prometheus.Registerer, name, help string, value func() N) {
	promauto.With(r).NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
}

// Gauge registers a gauge.
func Gauge(r prometheus.Registerer, name, help string) prometheus.Gauge {
	return promauto.With(r).NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

// Gauges registers a gauge with a label, whose known values are 0 at first.
func Gauges[V ~string](r prometheus.Registerer, name, help, label string, known ...V) *prometheus.GaugeVec {
	gauges := promauto.With(r).NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
	for _, value := range known {
		gauges.WithLabelValues(string(value))
	}
	return gauges
}

// GaugeOf registers a gauge whose value is kept elsewhere.
func GaugeOf[N number](r prometheus.Registerer, name, help string, value func() N) {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
}

// Histogram registers a histogram with these classic buckets.
func Histogram(r prometheus.Registerer, name, help string, buckets []float64) prometheus.Histogram {
	return promauto.With(r).NewHistogram(histogram(name, help, buckets))
}

// Histograms registers a histogram with labels. Known are values of the only label.
func Histograms(r prometheus.Registerer, name, help string, buckets []float64, labels []string, known ...string) *prometheus.HistogramVec {
	histograms := promauto.With(r).NewHistogramVec(histogram(name, help, buckets), labels)
	for _, value := range known {
		histograms.WithLabelValues(value)
	}
	return histograms
}

// Observe observes seconds, with the trace that ctx is part of as the exemplar, if that
// is recorded. Otherwise it allocates nothing.
func Observe(ctx context.Context, o prometheus.Observer, seconds float64) {
	if id := tracing.ID(ctx); id != "" {
		o.(prometheus.ExemplarObserver).ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": id})
		return
	}
	o.Observe(seconds)
}

// histogram has native buckets at most a tenth apart, which get wider where a series
// would need more than 160 of them.
func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}
