package auth

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/orderhub/orderhub/libs/platform/metric"
)

type metrics struct {
	refused, signIns            *prometheus.CounterVec
	cached, verified, keyErrors prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	credentials := metric.Counters[string](r, "orderhub_auth_credentials_total", "Valid credentials, by whether they were verified or remembered.", "source")
	return &metrics{
		refused: metric.Counters(r, "orderhub_auth_refused_total", "Requests that were refused for who asked, by reason.", "reason",
			"missing", "invalid", "scope", "rate", "streams", "host", "cross_site", "issuer"),
		signIns:   metric.Counters(r, "orderhub_auth_sign_ins_total", "Sign-ins, by outcome.", "outcome", "done", "failed"),
		cached:    credentials.WithLabelValues("cached"),
		verified:  credentials.WithLabelValues("verified"),
		keyErrors: metric.Counter(r, "orderhub_auth_key_errors_total", "Failed reads of the identity provider's description and keys."),
	}
}
