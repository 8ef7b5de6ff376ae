package auth

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

const (
	audience = "orderhub-api"

	clockSkew = time.Minute
	clientID  = "orderhub"
	keyOne    = "0123456789abcdef0123456789abcdef"
	keyTwo    = "fedcba9876543210fedcba9876543210"
)

// testIssuer is an OpenID Connect issuer.
type testIssuer struct {
	*httptest.Server
	mu       sync.Mutex
	keys     map[string]*rsa.PrivateKey
	current  string
	fetches  int
	away     bool
	claims   map[string]any // of the next ID token
	codes    map[string]url.Values
	override func(map[string]any) string // the next ID token
}

func newTestIssuer(t testing.TB) *testIssuer {
	t.Helper()
	i := &testIssuer{keys: map[string]*rsa.PrivateKey{}, codes: map[string]url.Values{}}
	i.rotate(t, "one")
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		if i.isAway() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize",
			"token_endpoint": i.URL + "/token", "end_session_endpoint": i.URL + "/logout?from=test",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetches++
		if i.away {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		set := jose.JSONWebKeySet{}
		for id, key := range i.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: "RS256", Use: "sig"})
		}
		_ = json.NewEncoder(w).Encode(set)
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		code := rand.Text()
		i.mu.Lock()
		i.codes[code] = r.URL.Query()
		i.mu.Unlock()
		http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+url.Values{"code": {code}, "state": {r.FormValue("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		asked, known := i.codes[r.FormValue("code")]
		delete(i.codes, r.FormValue("code"))
		i.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		challenge := sha256Base64(r.FormValue("code_verifier"))
		if !known || asked.Get("code_challenge") != challenge || asked.Get("code_challenge_method") != "S256" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant","secret":"leak"}`))
			return
		}
		all := map[string]any{"aud": clientID, "nonce": asked.Get("nonce")}
		maps.Copy(all, i.claims)
		token := i.token(nil, all)
		if i.override != nil {
			token = i.override(all)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "opaque", "token_type": "Bearer", "id_token": token})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *testIssuer) isAway() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.away
}

func (i *testIssuer) setAway(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

func (i *testIssuer) reads() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// rotate replaces the key.
func (i *testIssuer) rotate(t testing.TB, id string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.current = map[string]*rsa.PrivateKey{id: key}, id
}

// token signs claims over the usual ones; nil removes one. signer is the issuer's own
// by default.
func (i *testIssuer) token(signer *jose.SigningKey, claims map[string]any) string {
	now := time.Now()
	all := map[string]any{
		"iss": i.URL, "sub": "ann", "email": "ann@shop.example", "aud": audience,
		"exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "scope": "orders:read openid",
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	if signer == nil {
		i.mu.Lock()
		signer = &jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.keys[i.current], KeyID: i.current}}
		i.mu.Unlock()
	}
	s, err := jose.NewSigner(*signer, nil)
	if err != nil {
		panic(err)
	}
	body, _ := json.Marshal(all)
	signed, err := s.Sign(body)
	if err != nil {
		panic(err)
	}
	text, _ := signed.CompactSerialize()
	return text
}

func TestJWTs(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	good := i.token(nil, nil)
	for range 3 {
		w := r.bearer("/read", good)
		require.Equal(t, 200, w.Code, w.Body)
		require.Equal(t, "jwt|ann (ann@shop.example)|orders:read|", w.Body.String())
		require.Equal(t, "Authorization, Cookie", w.Header().Get("Vary"))
	}
	require.EqualValues(t, 1, testutil.ToFloat64(r.metrics.verified))
	require.EqualValues(t, 2, testutil.ToFloat64(r.metrics.cached))

	w := r.bearer("/act", good)
	require.Equal(t, 403, w.Code)
	require.Equal(t, `Bearer realm="orderhub", error="insufficient_scope", scope="orders:read letters:act"`, w.Header().Get("WWW-Authenticate"))
	require.Contains(t, w.Body.String(), "lacks a scope that this needs: letters:act.")
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))

	w = r.ask("GET", "/read")
	require.Equal(t, 401, w.Code)
	require.Equal(t, `Bearer realm="orderhub", scope="orders:read"`, w.Header().Get("WWW-Authenticate"))
	require.Equal(t, 200, r.ask("GET", "/public").Code)

	public, err := json.Marshal(jose.JSONWebKey{Key: i.keys["one"].Public(), KeyID: "one"})
	require.NoError(t, err)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	now := time.Now()
	unsigned := func(alg string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+alg+`","kid":"one"}`)) + "." + strings.Split(good, ".")[1] + "."
	}
	signed := func(algorithm jose.SignatureAlgorithm, key any, id string) string {
		return i.token(&jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	}
	for name, token := range map[string]string{
		"expired":           i.token(nil, map[string]any{"exp": now.Add(-clockSkew - 5*time.Second).Unix()}),
		"no expiry":         i.token(nil, map[string]any{"exp": nil}),
		"not yet valid":     i.token(nil, map[string]any{"nbf": now.Add(clockSkew + 30*time.Second).Unix()}),
		"wrong audience":    i.token(nil, map[string]any{"aud": "another"}),
		"no audience":       i.token(nil, map[string]any{"aud": nil}),
		"the sign-in's":     i.token(nil, map[string]any{"aud": clientID}),
		"wrong issuer":      i.token(nil, map[string]any{"iss": "https://idp.example"}),
		"no subject":        i.token(nil, map[string]any{"sub": nil}),
		"invisible subject": i.token(nil, map[string]any{"sub": "\u200b"}),
		"none":              unsigned("none"),
		"None":              unsigned("None"),
		"empty algorithm":   unsigned(""),
		"key confusion":     signed(jose.HS256, public, "one"),
		"key confusion raw": signed(jose.HS256, i.keys["one"].N.Bytes(), "one"),
		"another's key":     signed(jose.RS256, stranger, "one"),
		"unknown key":       signed(jose.RS256, stranger, "two"),
		"no key id":         signed(jose.RS256, stranger, ""),
		"changed":           strings.Replace(good, ".", ".e", 1),
		"truncated":         good[:len(good)-20],
		"no token at all":   "x",
		"two dots":          "..",
		"long":              "a.a." + strings.Repeat("x", 20000),
	} {
		w := r.bearer("/read", token)
		require.Equal(t, 401, w.Code, name)
		require.Contains(t, w.Header().Get("WWW-Authenticate"), `error="invalid_token"`, name)
		require.Equal(t, 401, r.bearer("/public", token).Code, "a wrong token is never taken for none")
	}
	for name, token := range map[string]string{
		"expired within the skew": i.token(nil, map[string]any{"exp": now.Add(-clockSkew + 30*time.Second).Unix()}),
		"valid within the skew":   i.token(nil, map[string]any{"nbf": now.Add(clockSkew - 20*time.Second).Unix()}),
		"several audiences":       i.token(nil, map[string]any{"aud": []string{"x", audience}}),
		"lower case":              good,
	} {
		require.Equal(t, 200, r.ask("GET", "/read", "Authorization", "bearer "+token).Code, name)
	}
	require.NotContains(t, fmt.Sprint(r.logged.All()), good[:30], "no token is logged")
}

func TestACachedTokenEndsWithItsExpiry(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	token := i.token(nil, map[string]any{"exp": time.Now().Add(-clockSkew + 3*time.Second).Unix()})
	require.Equal(t, 200, r.bearer("/read", token).Code)
	server := httptest.NewServer(r.handler)
	defer server.Close()
	_, ended, _ := stream(t, server, token)
	ended()
	require.Equal(t, 401, r.bearer("/read", token).Code)
}

// forgetReads makes the next unknown key fetch them.
func (r *rig) forgetReads() {
	r.issuer.keys.mu.Lock()
	defer r.issuer.keys.mu.Unlock()
	r.issuer.keys.asked = time.Time{}
}

func TestKeysRotate(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	old := i.token(nil, nil)
	require.Equal(t, 200, r.bearer("/read", old).Code)
	i.rotate(t, "two")
	r.forgetReads()
	require.Equal(t, 200, r.bearer("/read", i.token(nil, map[string]any{"sub": "bob"})).Code, "a new key is fetched when a token names it")

	// Nobody brings a token of the next key, but what the loop does every issuerPeriod
	// finds that the old one was withdrawn.
	old = i.token(nil, nil)
	require.Equal(t, 200, r.bearer("/read", old).Code)
	i.rotate(t, "three")
	r.forgetReads()
	require.NoError(t, r.issuer.read(context.Background()))
	r.verifyAgain(t.Context())
	require.Equal(t, 401, r.bearer("/read", old).Code)
}

// A stream lasts as long as its JWT counts, and not until the JWT's expiry.
func TestAStreamEndsWithItsKey(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	server := httptest.NewServer(r.handler)
	defer server.Close()
	status, ended, _ := stream(t, server, i.token(nil, nil))
	require.Equal(t, 200, status)
	refresh := func() {
		r.forgetReads()
		require.NoError(t, r.issuer.read(t.Context()))
		r.verifyAgain(t.Context())
	}
	var caller *Caller
	r.open.Range(func(_, value any) bool {
		caller = value.(*Caller)
		return true
	})
	refresh()
	require.True(t, caller.valid(), "the key is still there")
	i.setAway(true)
	r.forgetReads()
	r.verifyAgain(t.Context())
	require.True(t, caller.valid(), "known keys count while the issuer is away")
	i.setAway(false)
	i.rotate(t, "two")
	refresh()
	ended()
	require.Eventually(t, func() bool {
		left := 0
		r.open.Range(func(any, any) bool { left++; return true })
		return left == 0
	}, 20*time.Second, time.Millisecond, "nothing of the stream is kept")
}

func TestUnknownKeysCauseNoStorm(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	require.Equal(t, 200, r.bearer("/read", i.token(nil, nil)).Code)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	begun, before := time.Now(), i.reads()
	var all sync.WaitGroup
	for n := range 200 {
		all.Go(func() {
			key := jose.JSONWebKey{Key: stranger, KeyID: fmt.Sprint("forged", n)}
			r.bearer("/read", i.token(&jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil))
		})
	}
	all.Wait()
	require.LessOrEqual(t, i.reads()-before, 1+int(time.Since(begun)/keysPause))
	require.EqualValues(t, 200, testutil.ToFloat64(r.metrics.refused.WithLabelValues("invalid")))
}

func TestAnIssuerThatIsAwayAtTheStart(t *testing.T) {
	i := newTestIssuer(t)
	i.setAway(true)
	r := newRig(t, withIssuer(i))
	require.Eventually(t, func() bool {
		ready, components := r.health.Status()
		return !ready && strings.Contains(components[0].Detail, "502")
	}, 20*time.Second, time.Millisecond, "readiness says so")
	w := r.bearer("/read", i.token(nil, nil))
	require.Equal(t, 503, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Equal(t, 503, r.ask("GET", "/signin").Code)
	require.Equal(t, 401, r.bearer("/read", "junk").Code)
	require.NotZero(t, testutil.ToFloat64(r.metrics.keyErrors))
	require.Len(t, r.logged.FilterMessageSnippet("cannot read the identity provider").All(), 1, "said once")
	i.setAway(false)
	require.Eventually(t, func() bool { return r.bearer("/read", i.token(nil, nil)).Code == 200 }, 20*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { ready, _ := r.health.Status(); return ready }, 20*time.Second, time.Millisecond)
}

func TestKnownKeysOutliveTheIssuer(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	require.Equal(t, 200, r.bearer("/read", i.token(nil, nil)).Code)
	i.setAway(true)
	known := i.token(nil, map[string]any{"sub": "eve"})
	r.forgetReads()
	require.Equal(t, 200, r.bearer("/read", i.token(nil, map[string]any{"sub": "bob"})).Code)
	i.rotate(t, "two")
	require.Equal(t, 503, r.bearer("/read", i.token(nil, nil)).Code, "nobody knows whether that key is good")
	require.Equal(t, 200, r.bearer("/read", known).Code)
	ready, _ := r.health.Status()
	require.True(t, ready)
}
