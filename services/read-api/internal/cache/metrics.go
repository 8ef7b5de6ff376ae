package cache

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// From when on the time until a change is visible is measured.
const (
	fromCommit = "commit"
	// fromRound is from the beginning of the previous round, which did not see the
	// change: so the change was committed later.
	fromRound = "round"
)

// register shows the figures of a cache and its reflector.
func (r *Reflector) register(to prometheus.Registerer) {
	r.flushes = metric.Counters(to, "orderhub_cache_flushes_total", "Rounds with changes, by what triggered them.", "trigger", batch.Arrival, batch.Period)
	r.visible = metric.Histograms(to, "orderhub_cache_visible_seconds", "Time until a committed change was in memory.",
		prometheus.ExponentialBuckets(0.001, 2, 15), []string{"from"}, fromCommit, fromRound)
	if to != nil {
		to.MustRegister(&collector{r.cache, r})
	}
}

// measure takes the times that it took until a round's changes were visible.
func (r *Reflector) measure(f *feed, round changes.Round) {
	switch {
	case !f.published: // the changes came with a snapshot
	case len(round.Ages) > 0:
		for _, age := range round.Ages {
			r.visible.WithLabelValues(fromCommit).Observe(age.Seconds())
		}
	case round.Put+round.Deleted > 0:
		r.visible.WithLabelValues(fromRound).Observe(time.Since(f.began).Seconds())
	}
}

type collector struct {
	cache     *Cache
	reflector *Reflector
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	stats, loop := c.cache.Stats(), c.reflector.Stats()
	synced := 0.0
	if stats.Synced {
		synced = 1
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	for _, m := range []struct {
		name, help string
		kind       prometheus.ValueType
		value      float64
	}{
		{"orderhub_cache_orders", "Orders in memory.", gauge, float64(stats.Orders)},
		{"orderhub_cache_bytes", "Memory of the orders and their index, in bytes.", gauge, float64(stats.Bytes)},
		{"orderhub_cache_staleness_seconds", "Time since the last complete round of reading changes began.", gauge, stats.Staleness.Seconds()},
		{"orderhub_cache_synced", "1 once the cache has been filled.", gauge, synced},
		{"orderhub_cache_evicted_orders", "Orders that did not fit CACHE_BYTES since the last snapshot.", gauge, float64(stats.Evicted)},
		{"orderhub_cache_hits_total", "Look-ups that memory answered; from 0 again after a snapshot.", counter, float64(stats.Hits)},
		{"orderhub_cache_misses_total", "Look-ups that it did not; likewise.", counter, float64(stats.Misses)},
		{"orderhub_cache_restore_seconds", "Time that the last snapshot took.", gauge, loop.Restore.Duration.Seconds()},
		{"orderhub_cache_changes_total", "Orders put or deleted by rounds of changes.", counter, float64(loop.Changes)},
		{"orderhub_cache_relists_total", "Snapshots of all orders after the first one.", counter, float64(loop.Relists)},
		{"orderhub_cache_differences_total", "Orders found to have changed in a way that the triggers do not see.", counter, float64(loop.Differences)},
		{"orderhub_cache_triggers_off", "Triggers of the tables that are off, so that some changes are not seen.", gauge, float64(loop.TriggersOff)},
	} {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(m.name, m.help, nil, nil), m.kind, m.value)
	}
}
