package pipeline

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
)

// Metrics of the pipeline. Safe for concurrent use.
type Metrics struct {
	records     *prometheus.CounterVec
	deadLetters *prometheus.CounterVec
	blocked     *prometheus.GaugeVec
	retries     *prometheus.CounterVec
	gaps        *prometheus.CounterVec
	recreated   *prometheus.CounterVec
	skipped     *prometheus.CounterVec
	batch       prometheus.Histogram
	flush       prometheus.Histogram
	age         prometheus.Histogram
	flushes     *prometheus.CounterVec

	unknown      *prometheus.CounterVec
	unknownMu    sync.Mutex
	unknownNames map[string]bool
}

// Kinds of records that are skipped.
const (
	aborted = "aborted"
	control = "control"
)

// maxUnknownNames bounds the metric of unknown fields, whose names are arbitrary.
const maxUnknownNames = 100

// NewMetrics registers the pipeline's metrics. increase() sees only what comes after a series
// was created, so all that are known exist from the start.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	with := promauto.With(registry)
	counter := func(name, label, help string, known ...string) *prometheus.CounterVec {
		c := with.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, value := range known {
			c.WithLabelValues(value)
		}
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return with.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	m := &Metrics{
		records:     counter("orderhub_ingest_records_total", "outcome", "Records that are done, by outcome.", "stored", "duplicate", "dead_letter"),
		deadLetters: counter("orderhub_dead_letters_total", "reason", "Records that became dead letters, by reason.", deadletter.Reasons()...),
		blocked: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: "orderhub_ingest_blocked", Help: "Partitions that wait, by cause.",
		}, []string{"cause"}),
		retries: counter("orderhub_ingest_retries_total", "cause", "Failed attempts that are repeated, by cause."),
		gaps:    counter("orderhub_ingest_offset_gap_records_total", "partition", "Offsets that were deleted from the topic before they were read."),
		recreated: counter("orderhub_ingest_recreated_partitions_total", "partition",
			"Times that the topic ended before the committed offset, so that it was read from its first record."),
		skipped: counter("orderhub_ingest_skipped_records_total", "kind",
			"Records that are not consumed: those of aborted transactions, and control records.", aborted, control),
		batch: histogram("orderhub_ingest_batch_records", "Records in a batch.", prometheus.ExponentialBuckets(1, 4, 8)),
		flush: histogram("orderhub_ingest_batch_seconds", "From taking a batch to its committed offset.", prometheus.ExponentialBuckets(0.001, 2, 14)),
		age: histogram("orderhub_ingest_stored_age_seconds", "Age of a record, by its timestamp, when its order was stored.",
			[]float64{.005, .01, .025, .05, .1, .25, .5, .75, 1, 2.5, 5, 10, 60, 600, 3600}),
		flushes:      counter("orderhub_ingest_flushes_total", "trigger", "Batches, by what triggered their flush."),
		unknown:      counter("orderhub_ingest_unknown_fields_total", "field", "Fields that an order does not have, by name."),
		unknownNames: map[string]bool{},
	}
	for _, cause := range errclass.Causes() {
		m.blocked.WithLabelValues(string(cause))
		m.retries.WithLabelValues(string(cause))
	}
	for _, trigger := range []batch.Trigger{batch.Arrival, batch.Count, batch.Bytes, batch.Period, memory} {
		m.flushes.WithLabelValues(string(trigger))
	}
	return m
}

// stored observes how old the records are whose orders were stored just now.
func (m *Metrics) stored(records []*ingest.Record) {
	now := time.Now()
	for _, r := range records {
		if r.Outcome() == ingest.Stored && !r.Source.Timestamp.IsZero() {
			m.age.Observe(max(0, now.Sub(r.Source.Timestamp).Seconds()))
		}
	}
}

func (m *Metrics) unknownField(name string) {
	m.unknownMu.Lock()
	if !m.unknownNames[name] {
		if len(m.unknownNames) >= maxUnknownNames {
			name = "(others)"
		}
		m.unknownNames[name] = true
	}
	m.unknownMu.Unlock()
	m.unknown.WithLabelValues(name).Inc()
}
