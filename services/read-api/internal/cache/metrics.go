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
	cache, loop := r.cache.Stats, &r.figure
	metric.GaugeOf(to, "orderhub_cache_orders", "Orders in memory.", func() int64 { return cache().Orders })
	metric.GaugeOf(to, "orderhub_cache_bytes", "Memory of the orders and their index, in bytes.", func() int64 { return cache().Bytes })
	metric.GaugeOf(to, "orderhub_cache_index_bytes", "Memory that lists are found by, in bytes; 0: they are read from PostgreSQL.", r.cache.indexBytes.Load)
	metric.GaugeOf(to, "orderhub_cache_staleness_seconds", "Time since the last complete round of reading changes began.",
		func() float64 { return cache().Staleness.Seconds() })
	metric.GaugeOf(to, "orderhub_cache_synced", "1 once the cache has been filled.", func() int {
		if r.cache.HasSynced() {
			return 1
		}
		return 0
	})
	metric.GaugeOf(to, "orderhub_cache_evicted_orders", "Orders that did not fit CACHE_BYTES since the last snapshot.", func() int64 { return cache().Evicted })
	metric.CounterOf(to, "orderhub_cache_hits_total", "Look-ups that memory answered.", func() int64 { return cache().Hits })
	metric.CounterOf(to, "orderhub_cache_misses_total", "Look-ups that it did not.", func() int64 { return cache().Misses })
	metric.GaugeOf(to, "orderhub_cache_restore_seconds", "Time that the last snapshot took.", func() float64 { return r.Stats().Restore.Duration.Seconds() })
	metric.GaugeOf(to, "orderhub_cache_saved_bytes", "Size of the file of saved orders.", r.saver.bytes.Load)
	metric.GaugeOf(to, "orderhub_cache_saved_timestamp_seconds", "When the orders were saved; 0: not yet.", r.saver.savedAt.Load)
	metric.CounterOf(to, "orderhub_cache_changes_total", "Orders put or deleted by rounds of changes.", loop.changes.Load)
	metric.CounterOf(to, "orderhub_cache_relists_total", "Snapshots of all orders after the first one.", loop.relists.Load)
	metric.CounterOf(to, "orderhub_cache_differences_total", "Orders found to have changed in a way that the triggers do not see.", loop.differences.Load)
	metric.GaugeOf(to, "orderhub_cache_triggers_off", "Triggers of the tables that are off, so that some changes are not seen.", loop.triggersOff.Load)
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
