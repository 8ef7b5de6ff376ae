package auth

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
		err := config.Check(&s)
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), keyOne)
	}
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

func (n nowhere) Header() http.Header { return http.Header(n) }

func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }

func (n nowhere) WriteHeader(int) {}

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
