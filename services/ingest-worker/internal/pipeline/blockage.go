package pipeline

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/platform/health"
)

// remindEvery is how often the log repeats that partitions are waiting.
const remindEvery = 30 * time.Second

// Blockage tracks which partitions wait, for what, and since when. It reports to
// readiness, the metric and the log: a line at the start, one now and then, and one at
// the end, however many partitions wait. Safe for concurrent use.
type Blockage struct {
	component *health.Component
	metrics   *Metrics
	log       *zap.Logger

	mu      sync.Mutex
	waiting map[errclass.Cause]*wait
}

// waiter is one of the two goroutines of a partition.
type waiter struct {
	partition int
	side      side
}

type side bool

const (
	reading side = false // from Kafka
	writing side = true  // to the tables, the dead-letter topic, and the offset
)

// membership is the waiter of the worker's membership in its group.
var membership = waiter{-1, reading}

type wait struct {
	waiters  map[waiter]bool
	since    time.Time
	counted  time.Time // until then it is in the metric
	reminded time.Time
	why      string
}

// partitions is how many partitions wait.
func (w *wait) partitions() int {
	partitions := map[int]bool{}
	for who := range w.waiters {
		partitions[who.partition] = true
	}
	return len(partitions)
}

// NewBlockage returns a blockage without waiters.
func NewBlockage(component *health.Component, metrics *Metrics, log *zap.Logger) *Blockage {
	component.Ready("")
	return &Blockage{component: component, metrics: metrics, log: log, waiting: map[errclass.Cause]*wait{}}
}

// block adds a waiter for a cause. It is called after every failed attempt.
func (b *Blockage) block(who waiter, class errclass.Class, cause errclass.Cause, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	w := b.waiting[cause]
	if w == nil {
		w = &wait{waiters: map[waiter]bool{}, since: now, counted: now}
		b.waiting[cause] = w
	}
	w.waiters[who] = true
	w.why = err.Error()
	b.metrics.retries.WithLabelValues(string(cause)).Inc()
	b.report(cause, w)
	if now.Sub(w.reminded) < remindEvery {
		return
	}
	w.reminded = now
	fields := []zap.Field{zap.String("cause", string(cause)), zap.Duration("duration_seconds", now.Sub(w.since).Round(time.Millisecond)), zap.Error(err)}
	if class == errclass.Unclassified {
		b.log.Error("unclassified error, retrying; please report it", fields...)
	} else {
		b.log.Warn("waiting, retrying; no record is lost", fields...)
	}
}

// clear removes a waiter, because it resumed or its partition was revoked.
func (b *Blockage) clear(who waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for cause, w := range b.waiting {
		if !w.waiters[who] {
			continue
		}
		delete(w.waiters, who)
		if len(w.waiters) == 0 {
			delete(b.waiting, cause)
			b.log.Info("resumed", zap.String("cause", string(cause)), zap.Duration("duration_seconds", time.Since(w.since).Round(time.Millisecond)))
		}
		b.report(cause, w)
	}
}

// BlockGroup reports that the worker is not a member of its group, and why.
func (b *Blockage) BlockGroup(err error) {
	b.block(membership, errclass.Environment, errclass.CauseBroker, err)
}

// ClearGroup reports that the worker is a member of its group, in a new generation.
func (b *Blockage) ClearGroup() {
	b.metrics.rebalances.Inc()
	b.clear(membership)
}

// report updates the metrics of one cause, and readiness.
func (b *Blockage) report(cause errclass.Cause, w *wait) {
	b.metrics.waited.WithLabelValues(string(cause)).Add(time.Since(w.counted).Seconds())
	w.counted = time.Now()
	b.metrics.blocked.WithLabelValues(string(cause)).Set(float64(w.partitions()))
	if len(b.waiting) == 0 {
		b.component.Ready("")
		return
	}
	parts := make([]string, 0, len(b.waiting))
	for cause, w := range b.waiting {
		parts = append(parts, fmt.Sprintf("waiting for %s since %s: %s", cause, w.since.UTC().Format(time.RFC3339), w.why))
	}
	sort.Strings(parts)
	b.component.NotReady(strings.Join(parts, "; "))
}
