package stream

import "github.com/prometheus/client_golang/prometheus"

// Collector shows a hub's figures to Prometheus.
func Collector(h *Hub) prometheus.Collector {
	return &collectorOf{
		hub:     h,
		clients: prometheus.NewDesc("orderhub_stream_clients", "Streams of changes that are open.", nil, nil),
		dropped: prometheus.NewDesc("orderhub_stream_dropped_total", "Streams that were ended because their clients didn't keep up.", nil, nil),
	}
}

type collectorOf struct {
	hub              *Hub
	clients, dropped *prometheus.Desc
}

func (c *collectorOf) Describe(to chan<- *prometheus.Desc) {
	to <- c.clients
	to <- c.dropped
}

func (c *collectorOf) Collect(to chan<- prometheus.Metric) {
	clients, dropped := c.hub.Figures()
	to <- prometheus.MustNewConstMetric(c.clients, prometheus.GaugeValue, float64(clients))
	to <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, float64(dropped))
}
