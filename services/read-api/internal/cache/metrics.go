package cache

import "github.com/prometheus/client_golang/prometheus"

// Collector shows a cache's figures to Prometheus.
func Collector(c *Cache, r *Reflector) prometheus.Collector { return &collector{c, r} }

type collector struct {
	cache     *Cache
	reflector *Reflector
}

var (
	ordersDesc      = prometheus.NewDesc("orderhub_cache_orders", "Orders in memory.", nil, nil)
	bytesDesc       = prometheus.NewDesc("orderhub_cache_bytes", "Memory of the orders and their index, in bytes.", nil, nil)
	stalenessDesc   = prometheus.NewDesc("orderhub_cache_staleness_seconds", "Time since the last complete round of reading changes began.", nil, nil)
	syncedDesc      = prometheus.NewDesc("orderhub_cache_synced", "1 once the cache has been filled.", nil, nil)
	evictedDesc     = prometheus.NewDesc("orderhub_cache_evicted_orders", "Orders that did not fit CACHE_BYTES since the last snapshot.", nil, nil)
	changesDesc     = prometheus.NewDesc("orderhub_cache_changes_total", "Orders put or deleted by rounds of changes.", nil, nil)
	relistsDesc     = prometheus.NewDesc("orderhub_cache_relists_total", "Snapshots of all orders after the first one.", nil, nil)
	differencesDesc = prometheus.NewDesc("orderhub_cache_differences_total", "Orders found to have changed in a way that the triggers do not see.", nil, nil)
	triggersOffDesc = prometheus.NewDesc("orderhub_cache_triggers_off", "Triggers of the tables that are off, so that some changes are not seen.", nil, nil)
)

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
	out <- prometheus.MustNewConstMetric(ordersDesc, gauge, float64(stats.Orders))
	out <- prometheus.MustNewConstMetric(bytesDesc, gauge, float64(stats.Bytes))
	out <- prometheus.MustNewConstMetric(stalenessDesc, gauge, stats.Staleness.Seconds())
	out <- prometheus.MustNewConstMetric(syncedDesc, gauge, synced)
	out <- prometheus.MustNewConstMetric(evictedDesc, gauge, float64(stats.Evicted))
	out <- prometheus.MustNewConstMetric(changesDesc, counter, float64(loop.Changes))
	out <- prometheus.MustNewConstMetric(relistsDesc, counter, float64(loop.Relists))
	out <- prometheus.MustNewConstMetric(differencesDesc, counter, float64(loop.Differences))
	out <- prometheus.MustNewConstMetric(triggersOffDesc, gauge, float64(loop.TriggersOff))
	c.reflector.flushes.Collect(out)
}
