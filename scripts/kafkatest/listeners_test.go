package kafkatest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
)

// testListeners has the worker and orderctl come in at each listener, by their
// settings, and in vain where those are wrong.
func testListeners(on site) {
	t, cluster := on.t, on.cluster
	files := cluster.Certificates
	authority, client := "KAFKA_TLS_CA_FILE="+files.Authority, []string{"KAFKA_TLS_CERT_FILE=" + files.Client, "KAFKA_TLS_KEY_FILE=" + files.ClientKey}
	login := func(mechanism, password string) []string {
		return []string{"KAFKA_SASL_MECHANISM=" + mechanism, "KAFKA_SASL_USERNAME=alice", "KAFKA_SASL_PASSWORD=" + password}
	}
	secret := users["alice"]
	for _, c := range []struct {
		name     string
		listener apachekafka.Listener
		settings []string
		refused  bool
	}{
		{"SCRAM-SHA-256", apachekafka.SASL, login("SCRAM-SHA-256", secret), false},
		{"SCRAM-SHA-512", apachekafka.SASL, login("SCRAM-SHA-512", secret), false},
		{"PLAIN", apachekafka.SASL, append(login("PLAIN", secret), "KAFKA_SASL_PLAINTEXT=allow"), false},
		{"wrong password", apachekafka.SASL, login("SCRAM-SHA-512", "wrong"), true},
		{"no login", apachekafka.SASL, nil, true},
		{"TLS", apachekafka.TLS, append([]string{"KAFKA_TLS=true", authority}, client...), false},
		{"TLS without a certificate", apachekafka.TLS, []string{"KAFKA_TLS=true", authority}, true},
		{"TLS of an unknown authority", apachekafka.TLS, append([]string{"KAFKA_TLS=true"}, client...), true},
		{"no TLS", apachekafka.TLS, nil, true},
		{"SCRAM over TLS", apachekafka.SASLTLS, append(login("SCRAM-SHA-256", secret), "KAFKA_TLS=true", authority), false},
		{"TLS by another name", apachekafka.SASLTLS, append(login("SCRAM-SHA-256", secret), "KAFKA_TLS=true", authority, "KAFKA_TLS_SERVER_NAME=localhost"), false},
		{"TLS by a wrong name", apachekafka.SASLTLS, append(login("SCRAM-SHA-256", secret), "KAFKA_TLS=true", authority, "KAFKA_TLS_SERVER_NAME=elsewhere"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, cluster, 0)
			s.env = append(append(s.env, "KAFKA_BROKERS="+strings.Join(cluster.Addrs(c.listener), ",")), c.settings...)
			if c.refused {
				s.refused()
				return
			}
			s.worker()
			s.orderctl("publish", "--count", "20", "--invalid", "0.2", "--seed", "3")
			require.NoError(t, s.progress.Drain(bounded(t)))
			require.Equal(t, 16, s.stored())
			listed := each[struct {
				ID string `json:"id"`
			}](t, s.orderctl("dlq", "list", "--output", "json"))
			require.Len(t, listed, 4)
			s.orderctl("dlq", "redrive", "--all", "--yes")
			require.NoError(t, s.progress.Drain(bounded(t)))
			s.exact()
		})
	}
}

// refused checks that worker and orderctl say what is wrong, and that the worker
// goes on trying.
func (s *stage) refused() {
	s.t.Helper()
	w := s.start("ingest-worker")
	eventually(s.t, "the worker says why it is not ready", func() error {
		status, body := get("http://" + w.admin + "/readyz")
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "topics: ") {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	select {
	case <-w.proc.Done():
		s.t.Fatalf("the worker has ended: %v %s", w.proc.Err(), w.tail())
	default:
	}
	_, stderr, code := s.tryOrderctl("dlq", "list")
	require.Equal(s.t, 1, code)
	s.t.Logf("orderctl: %s", stderr)
	_, body := get("http://" + w.admin + "/readyz")
	s.t.Logf("worker: %s", body)
	require.NotContains(s.t, stderr+body+w.tail(), users["alice"])
}
