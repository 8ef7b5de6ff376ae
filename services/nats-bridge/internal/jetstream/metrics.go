package jetstream

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/platform/metric"
)

// Metrics of a source.
type Metrics struct {
	pending         prometheus.Gauge
	readAgain, lost prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	return &Metrics{
		pending:   metric.Gauge(r, "orderhub_bridge_pending_messages", "Messages in the stream that have not been delivered yet."),
		readAgain: metric.Counter(r, "orderhub_bridge_read_again_total", "Messages read from the stream because their delivery was lost."),
		lost:      metric.Counter(r, "orderhub_bridge_lost_messages_total", "Messages that the stream dropped before they were delivered."),
	}
}
