package auth

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	refused, signIns, credentials *prometheus.CounterVec
	cached, verified, keyErrors   prometheus.Counter
}

// newMetrics makes each series at once, so that its first increase shows.
func newMetrics(registry prometheus.Registerer) *metrics {
	vector := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := promauto.With(registry).NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	m := &metrics{
		refused: vector("orderhub_auth_refused_total", "Requests that were refused for who asked, by reason.", "reason",
			"missing", "invalid", "scope", "rate", "streams", "host", "cross_site", "issuer"),
		signIns:     vector("orderhub_auth_sign_ins_total", "Sign-ins, by outcome.", "outcome", "done", "failed"),
		credentials: vector("orderhub_auth_credentials_total", "Valid credentials, by whether they were verified or remembered.", "source"),
		keyErrors: promauto.With(registry).NewCounter(prometheus.CounterOpts{Name: "orderhub_auth_key_errors_total",
			Help: "Failed reads of the identity provider's description and keys."}),
	}
	m.cached, m.verified = m.credentials.WithLabelValues("cached"), m.credentials.WithLabelValues("verified")
	return m
}
