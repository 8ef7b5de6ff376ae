package stream

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/platform/metric"
)

// Register shows a hub's figures to Prometheus.
func Register(metrics prometheus.Registerer, h *Hub) {
	metric.GaugeOf(metrics, "orderhub_stream_clients", "Streams of changes that are open.", func() int64 { clients, _ := h.Figures(); return int64(clients) })
	metric.CounterOf(metrics, "orderhub_stream_dropped_total", "Streams that were ended because their clients didn't keep up.",
		func() int64 { _, dropped := h.Figures(); return dropped })
	metric.CounterOf(metrics, "orderhub_stream_refused_total", "Streams that were refused because STREAM_CLIENTS were open.", h.refused.Load)
}
