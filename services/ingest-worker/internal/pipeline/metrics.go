package pipeline

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
)

// Metrics of the pipeline. Safe for concurrent use.
type Metrics struct {
	records     *prometheus.CounterVec
	deadLetters *prometheus.CounterVec
	blocked     *prometheus.GaugeVec
	retries     *prometheus.CounterVec
	gaps        *prometheus.CounterVec
	skipped     *prometheus.CounterVec
	batch       prometheus.Histogram
	flush       prometheus.Histogram
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

// NewMetrics registers the pipeline's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderhub_ingest_records_total", Help: "Records that are done, by outcome.",
		}, []string{"outcome"}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderhub_dead_letters_total", Help: "Records that became dead letters, by reason.",
		}, []string{"reason"}),
		blocked: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "orderhub_ingest_blocked", Help: "Partitions that wait, by cause.",
		}, []string{"cause"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderhub_ingest_retries_total", Help: "Failed attempts that are repeated, by cause.",
		}, []string{"cause"}),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderhub_ingest_offset_gap_records_total", Help: "Offsets that were deleted from the topic before they were read.",
		}, []string{"partition"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderhub_ingest_skipped_records_total", Help: "Records that are not consumed: those of aborted transactions, and control records.",
		}, []string{"kind"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "orderhub_ingest_batch_records", Help: "Records in a batch.", Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		flush: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "orderhub_ingest_batch_seconds", Help: "From taking a batch to its committed offset.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		flushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderhub_ingest_flushes_total", Help: "Batches, by what triggered their flush.",
		}, []string{"trigger"}),
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderhub_ingest_unknown_fields_total", Help: "Fields that an order does not have, by name.",
		}, []string{"field"}),
		unknownNames: map[string]bool{},
	}
	registry.MustRegister(m.records, m.deadLetters, m.blocked, m.retries, m.gaps, m.skipped, m.batch, m.flush, m.flushes, m.unknown)
	// increase() sees only what comes after a series was created: all that are known exist
	// from the start.
	for _, outcome := range []string{"stored", "duplicate", "dead_letter"} {
		m.records.WithLabelValues(outcome)
	}
	for _, reason := range deadletter.Reasons() {
		m.deadLetters.WithLabelValues(reason)
	}
	for _, cause := range errclass.Causes() {
		m.blocked.WithLabelValues(string(cause))
		m.retries.WithLabelValues(string(cause))
	}
	for _, kind := range []string{aborted, control} {
		m.skipped.WithLabelValues(kind)
	}
	for _, trigger := range []batch.Trigger{batch.Arrival, batch.Count, batch.Bytes, batch.Period, memory} {
		m.flushes.WithLabelValues(string(trigger))
	}
	return m
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
