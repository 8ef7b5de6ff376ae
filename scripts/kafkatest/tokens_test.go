package kafkatest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
)

// testTokens has worker and orderctl log in with tokens of an issuer, which are valid for
// seconds, under load: both go on with new ones.
func testTokens(on site) {
	t, cluster := on.t, on.cluster
	const life = 6 * time.Second
	var issued atomic.Int32
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if id, secret, _ := r.BasicAuth(); id != "alice" || secret != users["alice"] {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
			return
		}
		issued.Add(1)
		part := base64.RawURLEncoding.EncodeToString
		now := time.Now()
		token := part([]byte(`{"alg":"none"}`)) + "." + part(fmt.Appendf(nil, `{"sub":"alice","iat":%d,"exp":%d}`, now.Unix(), now.Add(life).Unix())) + "."
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, token, int(life.Seconds()))
	}))
	t.Cleanup(issuer.Close)
	s := newStage(t, cluster, partitions)
	s.env = append(s.env, "KAFKA_BROKERS="+strings.Join(cluster.Addrs(apachekafka.SASL), ","), "KAFKA_SASL_MECHANISM=OAUTHBEARER", "KAFKA_SASL_PLAINTEXT=allow",
		"KAFKA_SASL_OAUTH_TOKEN_URL="+issuer.URL, "KAFKA_SASL_OAUTH_CLIENT_ID=alice", "KAFKA_SASL_OAUTH_CLIENT_SECRET="+users["alice"])
	s.worker()
	finish := s.underLoad(100)
	for range 3 {
		before := issued.Load()
		eventually(t, "tokens are renewed", func() error {
			if issued.Load() < before+3 {
				return fmt.Errorf("%d were issued", issued.Load())
			}
			return nil
		})
		s.flows("with new tokens")
	}
	finish()
	s.exact()
	s.orderctl("dlq", "list")

	s.env = append(s.env, "KAFKA_SASL_OAUTH_CLIENT_SECRET=wrong-"+users["alice"])
	s.refused()
}
