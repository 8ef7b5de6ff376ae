package read

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// audience of the tokens that the benchmark's issuer signs.
const audience = "read-api"

// startIssuer stands for an OpenID Connect issuer: it serves its description and its
// key. token is of a caller who sees masked orders.
func startIssuer() (issuer *httptest.Server, token string) {
	key := must.Get(rsa.GenerateKey(rand.Reader, 2048))
	signer := must.Get(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "bench"}}, nil))
	answers := map[string]any{"/keys": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "bench", Algorithm: "RS256", Use: "sig"}}}}
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answers[r.URL.Path])
	}))
	answers["/.well-known/openid-configuration"] = map[string]any{
		"issuer": issuer.URL, "jwks_uri": issuer.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
	}
	return issuer, must.Get(jwt.Signed(signer).Claims(map[string]any{
		"iss": issuer.URL, "aud": audience, "sub": "bench", "scope": auth.OrdersRead.String(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(24 * time.Hour).Unix(),
	}).Serialize())
}

// callers measures hits with a credential on each request: of a reader with
// authentication, without limits, and with its audit log in a file.
func (b *Benchmark) callers(ctx context.Context, issuer, jwt string) (targets []target) {
	masked, one, err := auth.NewToken("masked", auth.OrdersRead, time.Time{})
	must.Succeed(err)
	personal, other, err := auth.NewToken("personal", auth.OrdersRead|auth.OrdersPersonal, time.Time{})
	must.Succeed(err)
	tokens := filepath.Join(b.site.Folder, "tokens.yaml")
	must.Succeed(os.WriteFile(tokens, append(one, other...), 0o600))
	reader := b.site.StartReader(ctx, b.database, "HTTP_AUTH=on", "HTTP_TOKENS_FILE="+tokens, "HTTP_RATE=0",
		"OIDC_ISSUER="+issuer, "OIDC_AUDIENCE="+audience, "ORDERHUB_AUDIT_FILE="+filepath.Join(b.site.Folder, "audit.jsonl"))
	for _, c := range []struct {
		name, token string
		goal        float64
	}{
		{"masked hits with a JWT", jwt, 0.8},
		{"masked hits with a static token", masked, 0.85},
		{"personal hits, each with its audit record", personal, 0.5},
	} {
		targets = append(targets, target{
			name: c.name, addr: reader.Addr, pid: reader.Pid(), requests: b.main.requests.Hits,
			headers: []string{"Authorization: Bearer " + c.token}, goal: c.goal,
		})
	}
	return targets
}
