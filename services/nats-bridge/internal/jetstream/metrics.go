package jetstream

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a source.
type Metrics struct {
	pending         prometheus.Gauge
	readAgain, lost prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderhub_bridge_pending_messages", Help: "Messages in the stream that have not been delivered yet.",
		}),
		readAgain: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "orderhub_bridge_read_again_total", Help: "Messages read from the stream because their delivery was lost.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "orderhub_bridge_lost_messages_total", Help: "Messages that the stream dropped before they were delivered.",
		}),
	}
	registry.MustRegister(m.pending, m.readAgain, m.lost)
	return m
}
