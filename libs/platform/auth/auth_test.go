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
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// rig is a guard with a program behind it.
type rig struct {
	*Guard
	handler http.Handler
	logged  *observer.ObservedLogs
	health  *health.Registry
}

func defaults() Settings {
	return Settings{Auth: "on", ScopesClaim: "scope", SignInScopes: []string{"openid"}, SessionLife: time.Hour, ClockSkew: clockSkew, Burst: 1000}
}

func newRig(t testing.TB, s Settings, change ...func(*Options)) *rig {
	t.Helper()
	core, logged := observer.New(zap.DebugLevel)
	o := Options{Addr: "127.0.0.1:8081", Log: zap.New(core), Health: health.NewRegistry(), Metrics: prometheus.NewRegistry()}
	for _, one := range change {
		one(&o)
	}
	require.NoError(t, s.Validate())
	g, err := New(s, o)
	require.NoError(t, err)
	require.NoError(t, g.Start(context.Background()))
	t.Cleanup(g.Stop)
	engine := web.NewEngine(web.EngineOptions{})
	engine.Use(g.Identify())
	g.Register(engine)
	who := func(c *gin.Context) {
		caller := CallerOf(c)
		c.String(http.StatusOK, "%s|%s|%s|%s", caller.Kind, caller.Name, caller.Scopes, caller.CSRF)
	}
	engine.Match([]string{"GET", "HEAD", "POST"}, "/read", g.Require(OrdersRead), who)
	engine.Match([]string{"GET", "POST"}, "/act", g.Require(OrdersRead|LettersAct), who)
	engine.GET("/list", g.RequireCost(OrdersRead, 10), who)
	engine.GET("/public", who)
	engine.GET("/stream", g.Require(OrdersRead), g.Stream(), func(c *gin.Context) {
		c.Writer.WriteHeaderNow()
		c.Writer.Flush()
		select {
		case <-CallerOf(c).Ended():
		case <-c.Request.Context().Done():
		}
	})
	h, err := web.Behind(o.Web, engine)
	require.NoError(t, err)
	r := &rig{Guard: g, handler: h, logged: logged, health: o.Health}
	if g.issuer != nil && !strings.Contains(t.Name(), "Away") {
		require.Eventually(t, func() bool { return g.issuer.provider.Load() != nil }, 20*time.Second, time.Millisecond)
	}
	return r
}

// ask sends a request; headers are pairs.
func (r *rig) ask(method, path string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, "http://127.0.0.1:8081"+path, nil)
	request.RemoteAddr = "192.0.2.7:1234"
	for n := 0; n < len(headers); n += 2 {
		switch headers[n] {
		case "Host":
			request.Host = headers[n+1]
		case "Remote":
			request.RemoteAddr = headers[n+1]
		default:
			request.Header.Add(headers[n], headers[n+1])
		}
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, request)
	return w
}

func (r *rig) bearer(path, token string, headers ...string) *httptest.ResponseRecorder {
	return r.ask("GET", path, append(headers, "Authorization", "Bearer "+token)...)
}

// stream opens a stream over a real connection. ended waits until the server ends it,
// hangUp ends it here.
func stream(t *testing.T, server *httptest.Server, token string) (status int, ended, hangUp func()) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, server.URL+"/stream", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := server.Client().Do(request)
	require.NoError(t, err)
	hangUp = func() { _ = response.Body.Close() }
	t.Cleanup(hangUp)
	return response.StatusCode, func() {
		_, err := response.Body.Read(make([]byte, 1))
		require.Error(t, err)
	}, hangUp
}

func withIssuer(i *testIssuer) Settings {
	s := defaults()
	s.Issuer, s.Audience, s.ClientID, s.SessionKey = i.URL, audience, clientID, config.Secret(keyOne)
	return s
}

func writeTokens(t testing.TB, path string, lines ...[]byte) {
	t.Helper()
	var all []byte
	for _, line := range lines {
		all = append(all, line...)
	}
	require.NoError(t, os.WriteFile(path, all, 0o600))
}

func withTokens(t testing.TB, lines ...[]byte) Settings {
	t.Helper()
	s := defaults()
	s.TokensFile = filepath.Join(t.TempDir(), "tokens.yaml")
	writeTokens(t, s.TokensFile, lines...)
	return s
}

func newToken(t testing.TB, name string, scopes Scope, expires time.Time) (token string, line []byte) {
	t.Helper()
	token, line, err := NewToken(name, scopes, expires)
	require.NoError(t, err)
	return token, line
}

func TestScopes(t *testing.T) {
	scopes, unknown := ParseScopes([]string{"letters:act", "openid", "orders:read"})
	require.Equal(t, OrdersRead|LettersAct, scopes)
	require.Equal(t, []string{"openid"}, unknown)
	require.Equal(t, []string{"orders:read", "letters:act"}, scopes.Names())
	all, _ := ParseScopes(scopeNames)
	require.Equal(t, AllScopes, all)
	deep := map[string]any{"realm_access": map[string]any{"roles": []any{"orders:act", 3, "x"}}, "https://x.example/s": "orders:read"}
	require.Equal(t, OrdersAct, scopesIn(deep, "realm_access.roles"))
	require.Equal(t, OrdersRead, scopesIn(deep, "https://x.example/s"))
	require.Zero(t, scopesIn(deep, "realm_access.roles.x")|scopesIn(deep, "none")|scopesIn(nil, "a.b"))
}

func TestWithoutAuthEverybodyMayDoEverything(t *testing.T) {
	for _, mode := range []string{"", "off"} {
		s := defaults()
		s.Auth, s.Rate = mode, 1
		r := newRig(t, s)
		require.False(t, r.On())
		for range 5 {
			w := r.ask("POST", "/act")
			require.Equal(t, 200, w.Code)
			require.Equal(t, "off||"+AllScopes.String()+"|", w.Body.String())
			require.Empty(t, w.Header().Get("RateLimit"))
			require.Empty(t, w.Header().Get("Vary"))
		}
		require.Equal(t, 404, r.ask("GET", "/signin").Code)
	}
	nosy := newRig(t, Settings{SessionLife: time.Hour, Burst: 1}, func(o *Options) {
		o.Off = func(*gin.Context) *Caller { return NewCaller(KindConsoleToken, "Ann", OrdersRead, time.Time{}) }
	})
	require.Equal(t, "console-token|Ann|orders:read|", nosy.ask("GET", "/read").Body.String())
	require.Equal(t, 403, nosy.ask("GET", "/act").Code)
}

func TestBeyondLoopbackAModeIsNeeded(t *testing.T) {
	for _, addr := range []string{":8081", "0.0.0.0:8081", "192.0.2.1:8081", "[::]:8081", "shop.example:8081"} {
		require.ErrorContains(t, (&Settings{}).Check(addr, false), "HTTP_AUTH: ")
		require.NoError(t, (&Settings{Auth: "off"}).Check(addr, false))
		_, err := New(Settings{}, Options{Addr: addr})
		require.ErrorContains(t, err, "HTTP_AUTH: ")
	}
	for _, addr := range []string{"127.0.0.1:8081", "localhost:8081", "[::1]:8081"} {
		require.NoError(t, (&Settings{}).Check(addr, false))
		require.ErrorContains(t, (&Settings{}).Check(addr, true), "HTTP_AUTH: ", "a proxy makes it reachable")
		require.NoError(t, (&Settings{Auth: "off"}).Check(addr, true))
	}
}

func TestSettingsAreRefusedByName(t *testing.T) {
	for name, change := range map[string]func(*Settings){
		"HTTP_AUTH: unknown":                  func(s *Settings) { s.Auth = "yes" },
		"HTTP_AUTH: on needs":                 func(s *Settings) { s.TokensFile = "" },
		"HTTP_AUTH: HTTP_TOKENS_FILE":         func(s *Settings) { s.Auth = "" },
		"OIDC_ISSUER: OIDC_AUDIENCE":          func(s *Settings) { s.Audience = "x" },
		"OIDC_ISSUER: it is no https":         func(s *Settings) { s.Issuer, s.Audience = "http://idp.example", "x" },
		"OIDC_ISSUER: set OIDC_AUDIENCE":      func(s *Settings) { s.Issuer = "https://idp.example" },
		"HTTP_SESSION_KEY: a sign-in":         func(s *Settings) { s.Issuer, s.ClientID = "https://idp.example", "x" },
		"HTTP_SESSION_KEY: a sign-in (OIDC_C": func(s *Settings) { s.Issuer, s.ClientID, s.SessionKey = "https://idp.example", "x", keyOne+",short" },
		"OIDC_CLOCK_SKEW: ":                   func(s *Settings) { s.ClockSkew = time.Hour },
		"HTTP_SESSION_DURATION: ":             func(s *Settings) { s.SessionLife = time.Second },
		"HTTP_RATE: ":                         func(s *Settings) { s.Rate = -1 },
		"HTTP_RATE_BURST: ":                   func(s *Settings) { s.Burst = 0 },
		"HTTP_RATE_REFUSED: ":                 func(s *Settings) { s.RefusedRate = -1 },
		"HTTP_STREAMS_PER_CALLER: ":           func(s *Settings) { s.Streams = -1 },
	} {
		s := defaults()
		s.TokensFile = "x"
		change(&s)
		err := s.Validate()
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), keyOne)
	}
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
	r.verified.Purge()
	require.Equal(t, 401, r.bearer("/read", old).Code)
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

func TestStaticTokens(t *testing.T) {
	ann, annLine := newToken(t, "ann", OrdersRead, time.Time{})
	bob, bobLine := newToken(t, "bob's script", OrdersRead|LettersAct, time.Now().Add(time.Hour))
	old, oldLine := newToken(t, "old", AllScopes, time.Now().Add(-2*time.Second))
	s := withTokens(t, []byte("# tokens\n"), annLine, bobLine, oldLine)
	r := newRig(t, s)
	require.Equal(t, "token|ann|orders:read|", r.bearer("/read", ann).Body.String())
	require.Equal(t, "token|bob's script|orders:read letters:act|", r.bearer("/act", bob).Body.String())
	require.Equal(t, 200, r.ask("POST", "/act", "Authorization", "Bearer "+bob).Code, "a token needs no CSRF token")
	require.Equal(t, 403, r.bearer("/act", ann).Code)
	require.Equal(t, 401, r.bearer("/read", old).Code)
	require.Equal(t, 401, r.bearer("/read", ann+"x").Code)
	require.Equal(t, 401, r.bearer("/read", ann[:len(ann)-1]).Code)
	file, err := os.ReadFile(s.TokensFile)
	require.NoError(t, err)
	require.NotContains(t, string(file), ann)

	// A revoked one ends at once, with its streams; the others go on.
	server := httptest.NewServer(r.handler)
	defer server.Close()
	status, ended, _ := stream(t, server, bob)
	require.Equal(t, 200, status)
	annCaller := r.tokens.find(sha(ann))
	// Kubernetes swaps a symbolic link.
	next := filepath.Join(t.TempDir(), "next.yaml")
	writeTokens(t, next, annLine)
	require.NoError(t, os.Symlink(next, s.TokensFile+".new"))
	require.NoError(t, os.Rename(s.TokensFile+".new", s.TokensFile))
	ended()
	require.Equal(t, 401, r.bearer("/read", bob).Code)
	require.Equal(t, 200, r.bearer("/read", ann).Code)
	require.Same(t, annCaller, r.tokens.find(sha(ann)))
	require.True(t, annCaller.valid())

	// A file that cannot be used changes nothing, and is reported once.
	writeTokens(t, next, []byte("- {name: ann, scopes: [orders:everything], sha256: 00}\n"))
	require.Eventually(t, func() bool { return r.logged.FilterMessageSnippet("cannot be used").Len() == 1 }, 20*time.Second, time.Millisecond)
	require.Equal(t, 200, r.bearer("/read", ann).Code)
	// Other scopes are another token.
	writeTokens(t, next, []byte(strings.Replace(string(annLine), "orders:read", "letters:read", 1)))
	<-annCaller.Ended()
	require.Equal(t, 403, r.bearer("/read", ann).Code)
	require.NotContains(t, fmt.Sprint(r.logged.All()), ann)
}

func TestTokenFilesThatCannotBeUsed(t *testing.T) {
	_, line := newToken(t, "ann", OrdersRead, time.Time{})
	for text, want := range map[string]string{
		"- {name: ann, scopes: [orders:all], sha256: " + strings.Repeat("0", 64) + "}": "unknown or missing scopes",
		"- {name: ann, scopes: [], sha256: " + strings.Repeat("0", 64) + "}":           "unknown or missing scopes",
		"- {name: ann, scopes: [orders:read], sha256: 12}":                             "sha256 is not 64",
		"- {scopes: [orders:read]}":                                                    `name ""`,
		"- {name: ann, hash: 1}":                                                       "hash",
		"nonsense":                                                                     "cannot unmarshal",
		string(line) + string(line):                                                    "twice",
		strings.Replace(string(line), "scopes", "expires: tomorrow\n  scopes", 1):      "tomorrow",
	} {
		_, err := New(withTokens(t, []byte(text)), Options{Addr: "127.0.0.1:0", Log: zap.NewNop()})
		require.ErrorContains(t, err, "HTTP_TOKENS_FILE: ", text)
		require.ErrorContains(t, err, want)
	}
	s := defaults()
	s.TokensFile = filepath.Join(t.TempDir(), "missing")
	_, err := New(s, Options{Addr: "127.0.0.1:0", Log: zap.NewNop()})
	require.ErrorContains(t, err, "HTTP_TOKENS_FILE: ")
	newRig(t, withTokens(t)) // an empty file is no token
	for name, scopes := range map[string]Scope{"": OrdersRead, "a\nb": OrdersRead, "ann": 0, strings.Repeat("x", maxName+1): OrdersRead} {
		_, _, err := NewToken(name, scopes, time.Time{})
		require.Error(t, err)
	}
}

func TestLimits(t *testing.T) {
	ann, annLine := newToken(t, "ann", OrdersRead, time.Time{})
	bob, bobLine := newToken(t, "bob", OrdersRead, time.Time{})
	s := withTokens(t, annLine, bobLine)
	s.Rate, s.Burst, s.Streams = 1, 100, 1
	r := newRig(t, s)
	w := r.bearer("/read", ann)
	require.Equal(t, `"requests";q=100;w=100`, w.Header().Get("RateLimit-Policy"))
	require.Equal(t, `"requests";r=99;t=1`, w.Header().Get("RateLimit"))
	asked := 0
	for w = r.bearer("/list", ann); w.Code == 200; w = r.bearer("/list", ann) {
		asked++
	}
	require.InDelta(t, 9, asked, 2, "a list costs ten")
	require.Equal(t, 429, w.Code)
	require.NotEqual(t, "0", w.Header().Get("Retry-After"))
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.Equal(t, 200, r.bearer("/list", bob).Code, "each caller has its own")

	server := httptest.NewServer(r.handler)
	defer server.Close()
	first, _, hangUp := stream(t, server, bob)
	require.Equal(t, 200, first)
	second, _, _ := stream(t, server, bob)
	require.Equal(t, 429, second)
	hangUp()
	require.Eventually(t, func() bool { return r.tokens.find(sha(bob)).allowance.streams.Load() == 0 }, 20*time.Second, time.Millisecond)
	third, _, hangUp := stream(t, server, bob)
	require.Equal(t, 200, third)
	hangUp()
}

func TestRefusalsAreLimitedByAddress(t *testing.T) {
	ann, line := newToken(t, "ann", OrdersRead, time.Time{})
	bob, second := newToken(t, "bob", OrdersRead, time.Time{})
	s := withTokens(t, line, second)
	s.RefusedRate = 1
	r := newRig(t, s)
	require.Equal(t, 200, r.bearer("/read", ann).Code)
	codes := map[int]int{}
	for n := range 40 {
		codes[r.bearer("/read", fmt.Sprint("guess", n)).Code]++
	}
	require.NotZero(t, codes[429])
	require.InDelta(t, 10, codes[401], 5)
	require.Equal(t, 429, r.ask("GET", "/read").Code)
	require.Equal(t, 200, r.bearer("/read", ann).Code, "who is known goes on")
	require.Equal(t, 200, r.bearer("/read", bob).Code, "strangers at an address keep out nobody who has a token")
	require.Equal(t, 401, r.ask("GET", "/read", "Remote", "198.51.100.1:5").Code, "and so do other addresses")
	require.Equal(t, 429, r.ask("GET", "/read", "X-Forwarded-For", "203.0.113.9").Code, "nobody chooses an address")
	for range 30 {
		r.ask("GET", "/read", "Remote", "[2001:db8::1]:5")
	}
	require.Equal(t, 429, r.ask("GET", "/read", "Remote", "[2001:db8::2]:5").Code, "a network counts as one")
}

func TestHostsAndOrigins(t *testing.T) {
	ann, line := newToken(t, "ann", AllScopes, time.Time{})
	s := withTokens(t, line)
	r := newRig(t, s)
	for host, want := range map[string]int{
		"127.0.0.1:8081": 200, "localhost:8081": 200, "LOCALHOST": 200, "[::1]:8081": 200, "localhost.:8081": 200,
		"evil.example": 421, "evil.example:8081": 421, "": 421, "127.0.0.1.evil.example": 421,
	} {
		require.Equal(t, want, r.bearer("/read", ann, "Host", host).Code, host)
	}
	s.Hosts = []string{"Shop.example"}
	named := newRig(t, s, func(o *Options) { o.Addr = ":8081" })
	require.Equal(t, 200, named.bearer("/read", ann, "Host", "shop.example:8443").Code)
	require.Equal(t, 421, named.bearer("/read", ann, "Host", "evil.example").Code)
	s.Hosts = nil
	open := newRig(t, s, func(o *Options) { o.Addr = ":8081" })
	require.Equal(t, 200, open.bearer("/read", ann, "Host", "any.example").Code)
	off := newRig(t, Settings{SessionLife: time.Hour, Burst: 1})
	require.Equal(t, 200, off.ask("POST", "/read").Code)
	require.Equal(t, 403, off.ask("POST", "/read", "Origin", "https://evil.example").Code)
	require.Equal(t, 403, off.ask("POST", "/read", "Sec-Fetch-Site", "cross-site").Code)
	require.Equal(t, 200, off.ask("GET", "/read", "Sec-Fetch-Site", "cross-site").Code)
	require.EqualValues(t, 2, testutil.ToFloat64(off.metrics.refused.WithLabelValues("cross_site")))
}

func TestSafePaths(t *testing.T) {
	for address, want := range map[string]string{
		"/orders?q=1": "/orders?q=1", "/": "/", "": "/", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/",
		"/\t/evil.example": "/", "evil": "/", "javascript:alert(1)": "/", "/a\r\nSet-Cookie: x": "/",
	} {
		require.Equal(t, want, SafePath(address), address)
	}
}

func TestACallerEnds(t *testing.T) {
	c := NewCaller(KindToken, "x", OrdersRead, time.Now().Add(10*time.Millisecond))
	<-c.Ended()
	c.end()
	require.False(t, c.valid())
	forever := NewCaller(KindToken, "x", OrdersRead, time.Time{})
	require.True(t, forever.valid())
	select {
	case <-forever.Ended():
		t.Fatal("it does not expire")
	default:
	}
	require.True(t, forever.May(0))
	require.False(t, forever.May(OrdersRead|OrdersAct))
	require.Equal(t, "ann (x)", (&claims{Subject: "ann", Username: "x\u202e\x1b"}).name())
}

func TestAKnownCredentialAllocatesNextToNothing(t *testing.T) {
	i := newTestIssuer(t)
	ann, line := newToken(t, "ann", OrdersRead, time.Time{})
	s := withIssuer(i)
	s.TokensFile = withTokens(t, line).TokensFile
	r := newRig(t, s)
	engine := web.NewEngine(web.EngineOptions{})
	engine.GET("/bare", func(*gin.Context) {})
	engine.GET("/", r.Identify(), r.Require(OrdersRead), func(*gin.Context) {})
	for _, token := range []string{ann, i.token(nil, nil)} {
		request := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8081/", nil)
		bare := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8081/bare", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		w := nowhere{}
		engine.ServeHTTP(w, request)
		require.LessOrEqual(t, leastAllocs(func() { engine.ServeHTTP(w, request) }), 3+leastAllocs(func() { engine.ServeHTTP(w, bare) }))
	}
}

// leastAllocs is the least of many runs: pools forget at times, and with the race detector
// often.
func leastAllocs(run func()) float64 {
	least := testing.AllocsPerRun(1, run)
	for range 100 {
		least = min(least, testing.AllocsPerRun(1, run))
	}
	return least
}

type nowhere http.Header

func (n nowhere) Header() http.Header         { return http.Header(n) }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

func BenchmarkKnownJWT(b *testing.B) {
	i := newTestIssuer(b)
	s := withIssuer(i)
	s.Rate, s.Burst = 1_000_000, 1_000_000
	r := newRig(b, s)
	engine := web.NewEngine(web.EngineOptions{})
	engine.GET("/", r.Identify(), r.Require(OrdersRead), func(*gin.Context) {})
	request := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8081/", nil)
	request.Header.Set("Authorization", "Bearer "+i.token(nil, nil))
	w := nowhere{}
	b.ReportAllocs()
	for b.Loop() {
		engine.ServeHTTP(w, request)
	}
}
