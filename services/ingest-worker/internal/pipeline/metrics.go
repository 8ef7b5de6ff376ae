package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/platform/metric"
)

// Metrics of the pipeline. Safe for concurrent use.
type Metrics struct {
	registry    prometheus.Registerer
	records     *prometheus.CounterVec
	deadLetters *prometheus.CounterVec
	blocked     *prometheus.GaugeVec
	waited      *prometheus.CounterVec
	retries     *prometheus.CounterVec
	gaps        *prometheus.CounterVec
	recreated   *prometheus.CounterVec
	skipped     *prometheus.CounterVec
	batch       prometheus.Histogram
	flush       prometheus.Histogram
	age         prometheus.Histogram
	flushes     *prometheus.CounterVec
	phases      *prometheus.HistogramVec
	rebalances  prometheus.Counter
	assigned    prometheus.Gauge

	unknown      *prometheus.CounterVec
	unknownMu    sync.Mutex
	unknownNames map[string]bool
}

// Kinds of records that are skipped.
const (
	aborted = "aborted"
	control = "control"
)

// The phases of a batch, besides those of orderwrite. Fetching and decoding are for an
// answer of the broker, the others for a batch.
const (
	phaseFetch   = "fetch"
	phaseDecode  = "decode"
	phaseLetters = "letters"
	phaseOffset  = "offset"
)

// maxUnknownNames bounds the metric of unknown fields, whose names are arbitrary.
const maxUnknownNames = 100

// NewMetrics registers the pipeline's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	seconds := prometheus.ExponentialBuckets(0.001, 2, 14)
	return &Metrics{
		registry:    r,
		records:     metric.Counters(r, "orderhub_ingest_records_total", "Records that are done, by outcome.", "outcome", ingest.Outcomes()...),
		deadLetters: metric.Counters(r, "orderhub_dead_letters_total", "Records that became dead letters, by reason.", "reason", deadletter.Reasons()...),
		blocked:     metric.Gauges(r, "orderhub_ingest_blocked", "Partitions that wait, by cause.", "cause", errclass.Causes()...),
		waited:      metric.Counters(r, "orderhub_ingest_blocked_seconds_total", "Time during which partitions waited, by cause.", "cause", errclass.Causes()...),
		retries:     metric.Counters(r, "orderhub_ingest_retries_total", "Failed attempts that are repeated, by cause.", "cause", errclass.Causes()...),
		gaps:        metric.Counters[string](r, "orderhub_ingest_offset_gap_records_total", "Offsets that were deleted from the topic before they were read, or read again after a restore.", "partition"),
		recreated: metric.Counters[string](r, "orderhub_ingest_recreated_partitions_total",
			"Times that the topic ended before the committed offset, so that it was read from its first record.", "partition"),
		skipped: metric.Counters(r, "orderhub_ingest_skipped_records_total",
			"Records that are not consumed: those of aborted transactions, and control records.", "kind", aborted, control),
		batch: metric.Histogram(r, "orderhub_ingest_batch_records", "Records in a batch.", prometheus.ExponentialBuckets(1, 4, 8)),
		flush: metric.Histogram(r, "orderhub_ingest_batch_seconds", "From taking a batch to its committed offset.", seconds),
		age: metric.Histogram(r, "orderhub_ingest_stored_age_seconds", "Age of a record, by its timestamp, when its order was stored.",
			[]float64{.005, .01, .025, .05, .1, .25, .5, .7, 1, 2.5, 5, 10, 60, 600, 3600}),
		flushes: metric.Counters(r, "orderhub_ingest_flushes_total", "Batches, by what triggered their flush.", "trigger",
			batch.Arrival, batch.Count, batch.Bytes, batch.Period, memory),
		phases: metric.Histograms(r, "orderhub_ingest_phase_seconds", "Time of a phase of a batch; fetch and decode are for an answer of the broker.", seconds, []string{"phase"},
			phaseFetch, phaseDecode, orderwrite.PhaseLookUp, orderwrite.PhaseCopy, orderwrite.PhaseCommit, phaseLetters, phaseOffset),
		rebalances:   metric.Counter(r, "orderhub_ingest_rebalances_total", "Generations of the consumer group that this worker has joined."),
		assigned:     metric.Gauge(r, "orderhub_ingest_assigned_partitions", "Partitions that this worker consumes."),
		unknown:      metric.Counters[string](r, "orderhub_ingest_unknown_fields_total", "Fields that an order does not have, by name.", "field"),
		unknownNames: map[string]bool{},
	}
}

// Phase records how long a phase of a batch took; see orderwrite.Options.
func (m *Metrics) Phase(ctx context.Context, phase string, took time.Duration) {
	metric.Observe(ctx, m.phases.WithLabelValues(phase), took.Seconds())
}

// ofBudget shows a budget.
func (m *Metrics) ofBudget(b *Budget) {
	metric.GaugeOf(m.registry, "orderhub_ingest_memory_bytes", "Bytes in flight of INGEST_MEMORY_BYTES.", b.used.Load)
	metric.GaugeOf(m.registry, "orderhub_ingest_memory_limit_bytes", "INGEST_MEMORY_BYTES, the limit of bytes in flight.", func() int64 { return b.limit })
}

// stored observes how old the records are whose orders were stored, or replaced older ones, just now.
func (m *Metrics) stored(records []*ingest.Record) {
	now := time.Now()
	for _, r := range records {
		if o := r.Outcome(); (o == ingest.Stored || o == ingest.Replaced) && !r.Source.Timestamp.IsZero() {
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
