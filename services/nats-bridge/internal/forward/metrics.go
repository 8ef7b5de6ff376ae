package forward

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/metric"
)

// Metrics of a forwarder.
type Metrics struct {
	outcomes, letters *prometheus.CounterVec
	redelivered       prometheus.Counter
	messages, bytes   prometheus.Gauge
	took              prometheus.Histogram
}

// What becomes of a message.
const (
	forwarded  = "forwarded"
	deadLetter = "dead_letter"
)

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	return &Metrics{
		outcomes:    metric.Counters(r, "orderhub_bridge_messages_total", "Messages that Kafka has acknowledged, by outcome.", "outcome", forwarded, deadLetter),
		letters:     metric.Counters(r, "orderhub_dead_letters_total", "Dead letters written, by reason.", "reason", model.ReasonTooLarge),
		redelivered: metric.Counter(r, "orderhub_bridge_redeliveries_total", "Deliveries of messages that were forwarded or in flight already."),
		messages:    metric.Gauge(r, "orderhub_bridge_in_flight_messages", "Messages that wait for Kafka."),
		bytes:       metric.Gauge(r, "orderhub_bridge_in_flight_bytes", "Bytes of messages that wait for Kafka."),
		took: metric.Histogram(r, "orderhub_bridge_forward_seconds", "From taking a message to Kafka's acknowledgement.",
			prometheus.ExponentialBuckets(0.001, 2, 15)),
	}
}

func (m *Metrics) inFlight(w *window) {
	m.messages.Set(float64(w.messages))
	m.bytes.Set(float64(w.bytes))
}
