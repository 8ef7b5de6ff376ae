package stream

import "github.com/prometheus/client_golang/prometheus"

// Register shows a hub's figures to Prometheus.
func Register(metrics prometheus.Registerer, h *Hub) {
	metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orderhub_stream_clients", Help: "Streams of changes that are open."},
			func() float64 { clients, _ := h.Figures(); return float64(clients) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "orderhub_stream_dropped_total", Help: "Streams that were ended because their clients didn't keep up."},
			func() float64 { _, dropped := h.Figures(); return float64(dropped) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "orderhub_stream_refused_total", Help: "Streams that were refused because STREAM_CLIENTS were open."},
			func() float64 { return float64(h.refused.Load()) }))
}
