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

// remindEvery is how often the log repeats that something is still in the way.
const remindEvery = 30 * time.Second

// Blockage knows which partitions wait, for what, since when, and tells
// readiness, the metric and the log: one line when it starts, one now and then,
// one when it is over, however many partitions wait. Safe for concurrent use.
type Blockage struct {
	component *health.Component
	metrics   *Metrics
	log       *zap.Logger

	mu      sync.Mutex
	waiting map[errclass.Cause]*wait
}

// waiter is one of the two goroutines that work for a partition.
type waiter struct {
	partition int
	side      side
}

type side bool

const (
	reading side = false // from Kafka
	writing side = true  // to the tables, the dead-letter topic, and the offset
)

type wait struct {
	waiters  map[waiter]bool
	since    time.Time
	reminded time.Time
	why      string
}

// count is how many partitions wait.
func (w *wait) count() int {
	partitions := map[int]bool{}
	for who := range w.waiters {
		partitions[who.partition] = true
	}
	return len(partitions)
}

// NewBlockage returns a blockage of nothing.
func NewBlockage(component *health.Component, metrics *Metrics, log *zap.Logger) *Blockage {
	component.Ready("")
	return &Blockage{component: component, metrics: metrics, log: log, waiting: map[errclass.Cause]*wait{}}
}

// block says that someone waits for cause to go away.
func (b *Blockage) block(who waiter, cause errclass.Cause, unlisted bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	w := b.waiting[cause]
	if w == nil {
		w = &wait{waiters: map[waiter]bool{}, since: now}
		b.waiting[cause] = w
	}
	w.waiters[who] = true
	w.why = err.Error()
	b.metrics.blocked.WithLabelValues(string(cause)).Set(float64(w.count()))
	b.tell()
	if now.Sub(w.reminded) < remindEvery {
		return
	}
	w.reminded = now
	fields := []zap.Field{zap.String("cause", string(cause)), zap.Duration("for", now.Sub(w.since).Round(time.Millisecond)), zap.Error(err)}
	if unlisted {
		b.log.Error("waiting: an error that stands in no list is taken for a passing one and retried; please report it", fields...)
	} else {
		b.log.Warn("waiting: nothing is lost, and it goes on by itself once this is over", fields...)
	}
}

// BlockGroup says that the worker is no member of its group, and why.
func (b *Blockage) BlockGroup(err error) {
	b.block(waiter{noPartition, reading}, errclass.CauseBroker, false, err)
}

// ClearGroup says that the worker is a member of its group.
func (b *Blockage) ClearGroup() { b.clear(waiter{noPartition, reading}) }

// noPartition stands for the membership in the group in a waiter.
const noPartition = -1

// clear says that someone goes on, or that the partition is no longer ours.
func (b *Blockage) clear(who waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for cause, w := range b.waiting {
		if !w.waiters[who] {
			continue
		}
		delete(w.waiters, who)
		b.metrics.blocked.WithLabelValues(string(cause)).Set(float64(w.count()))
		if len(w.waiters) == 0 {
			delete(b.waiting, cause)
			b.log.Info("goes on", zap.String("cause", string(cause)), zap.Duration("waited", time.Since(w.since).Round(time.Millisecond)))
		}
		b.tell()
	}
}

func (b *Blockage) tell() {
	if len(b.waiting) == 0 {
		b.component.Ready("")
		return
	}
	parts := make([]string, 0, len(b.waiting))
	for cause, w := range b.waiting {
		parts = append(parts, fmt.Sprintf("waits for %s since %s: %s",
			cause, w.since.UTC().Format(time.RFC3339), w.why))
	}
	sort.Strings(parts)
	b.component.NotReady(strings.Join(parts, "; "))
}
