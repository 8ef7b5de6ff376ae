package forward

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a forwarder.
type Metrics struct {
	forwarded, deadLetters, redelivered prometheus.Counter
	letters                             *prometheus.CounterVec
	messages, bytes                     prometheus.Gauge
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "orderhub_bridge_messages_total", Help: "Messages that Kafka has acknowledged, by outcome.",
	}, []string{"outcome"})
	m := &Metrics{
		forwarded: outcomes.WithLabelValues("forwarded"), deadLetters: outcomes.WithLabelValues("dead_letter"),
		redelivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "orderhub_bridge_redeliveries_total", Help: "Deliveries of messages that were forwarded or in flight already.",
		}),
		letters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orderhub_dead_letters_total", Help: "Dead letters written, by reason.",
		}, []string{"reason"}),
		messages: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderhub_bridge_in_flight_messages", Help: "Messages that wait for Kafka.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "orderhub_bridge_in_flight_bytes", Help: "Bytes of messages that wait for Kafka.",
		}),
	}
	registry.MustRegister(outcomes, m.redelivered, m.letters, m.messages, m.bytes)
	m.letters.WithLabelValues("too_large") // at 0, so that the first is seen as an increase
	return m
}

func (m *Metrics) inFlight(w *window) {
	m.messages.Set(float64(w.messages))
	m.bytes.Set(float64(w.bytes))
}
