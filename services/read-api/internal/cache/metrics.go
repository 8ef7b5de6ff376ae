package cache

import "github.com/prometheus/client_golang/prometheus"

// Collector shows a cache's figures to Prometheus.
func Collector(c *Cache, r *Reflector) prometheus.Collector {
	return &collector{
		cache: c, reflector: r,
		orders:      prometheus.NewDesc("orderhub_cache_orders", "Orders in memory.", nil, nil),
		bytes:       prometheus.NewDesc("orderhub_cache_bytes", "Memory of the orders and their index, in bytes.", nil, nil),
		staleness:   prometheus.NewDesc("orderhub_cache_staleness_seconds", "Time since the last complete round of reading changes began.", nil, nil),
		synced:      prometheus.NewDesc("orderhub_cache_synced", "1 once the cache has been filled.", nil, nil),
		evicted:     prometheus.NewDesc("orderhub_cache_evicted_orders", "Orders that did not fit CACHE_BYTES since the last snapshot.", nil, nil),
		changes:     prometheus.NewDesc("orderhub_cache_changes_total", "Orders put or deleted by rounds of changes.", nil, nil),
		differences: prometheus.NewDesc("orderhub_cache_differences_total", "Orders found to have changed in a way that the triggers do not see.", nil, nil),
		triggersOff: prometheus.NewDesc("orderhub_cache_triggers_off", "Triggers of the tables that are off, so that some changes are not seen.", nil, nil),
		relists:     prometheus.NewDesc("orderhub_cache_relists_total", "Snapshots of all orders after the first one.", nil, nil),
	}
}

type collector struct {
	cache                                                                                 *Cache
	reflector                                                                             *Reflector
	orders, bytes, staleness, synced, evicted, changes, relists, differences, triggersOff *prometheus.Desc
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
	out <- prometheus.MustNewConstMetric(c.orders, gauge, float64(stats.Orders))
	out <- prometheus.MustNewConstMetric(c.bytes, gauge, float64(stats.Bytes))
	out <- prometheus.MustNewConstMetric(c.staleness, gauge, stats.Staleness.Seconds())
	out <- prometheus.MustNewConstMetric(c.synced, gauge, synced)
	out <- prometheus.MustNewConstMetric(c.evicted, gauge, float64(stats.Evicted))
	out <- prometheus.MustNewConstMetric(c.changes, counter, float64(loop.Changes))
	out <- prometheus.MustNewConstMetric(c.relists, counter, float64(loop.Relists))
	c.reflector.flushes.Collect(out)
	out <- prometheus.MustNewConstMetric(c.differences, counter, float64(loop.Differences))
	out <- prometheus.MustNewConstMetric(c.triggersOff, gauge, float64(loop.TriggersOff))
}
