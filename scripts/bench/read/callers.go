package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/orderhub/orderhub/libs/platform/auth"
)

// audience of the tokens that the benchmark's issuer signs.
const audience = "read-api"

// issuer stands for an OpenID Connect issuer: it serves its description and its key.
type issuer struct {
	address string
	token   string // of a caller who sees masked orders
	server  *http.Server
}

func startIssuer(ctx context.Context) (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "bench"}}, nil)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &issuer{address: "http://" + listener.Addr().String()}
	claims := map[string]any{
		"iss": i.address, "aud": audience, "sub": "bench", "scope": auth.OrdersRead.String(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(24 * time.Hour).Unix(),
	}
	if i.token, err = jwt.Signed(signer).Claims(claims).Serialize(); err != nil {
		return nil, err
	}
	answers := map[string]any{
		"/.well-known/openid-configuration": map[string]any{"issuer": i.address, "jwks_uri": i.address + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}},
		"/keys":                             jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "bench", Algorithm: "RS256", Use: "sig"}}},
	}
	i.server = &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answers[r.URL.Path])
	})}
	go func() { _ = i.server.Serve(listener) }() // until Close
	return i, nil
}

// callers measures hits with a credential on each request: of a reader with
// authentication, without limits, and with its audit log in a file.
func (b *runner) callers(ctx context.Context) ([]target, error) {
	issuer, err := startIssuer(ctx)
	if err != nil {
		return nil, err
	}
	b.issuer = issuer
	masked, one, err := auth.NewToken("masked", auth.OrdersRead, time.Time{})
	if err != nil {
		return nil, err
	}
	personal, other, err := auth.NewToken("personal", auth.OrdersRead|auth.OrdersPersonal, time.Time{})
	if err != nil {
		return nil, err
	}
	tokens := filepath.Join(b.site.Folder, "tokens.yaml")
	if err := os.WriteFile(tokens, append(one, other...), 0o600); err != nil {
		return nil, err
	}
	reader, err := b.site.StartReader(ctx, b.database, "HTTP_AUTH=on", "HTTP_TOKENS_FILE="+tokens, "HTTP_RATE=0",
		"OIDC_ISSUER="+issuer.address, "OIDC_AUDIENCE="+audience, "ORDERHUB_AUDIT_FILE="+filepath.Join(b.site.Folder, "audit.jsonl"))
	if err != nil {
		return nil, err
	}
	var targets []target
	for _, c := range []struct {
		name, token string
		goal        float64
	}{
		{"masked hits with a JWT", issuer.token, 0.8},
		{"masked hits with a static token", masked, 0.85},
		{"personal hits, each with its audit record", personal, 0.5},
	} {
		targets = append(targets, target{
			name: c.name, addr: reader.Addr, pid: reader.Pid(), requests: b.main.requests.Hits,
			headers: []string{"Authorization: Bearer " + c.token}, goal: c.goal,
		})
	}
	return targets, nil
}
