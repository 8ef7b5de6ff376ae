package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/problem"
)

// echo answers with what a handler sees of a request.
func echo() *gin.Engine {
	engine := NewEngine(EngineOptions{})
	see := func(c *gin.Context) {
		c.String(http.StatusOK, "%s %s %s %s", Prefix(c.Request), c.Request.URL.RequestURI(), c.Request.Host, c.ClientIP())
	}
	engine.GET("/", see)
	engine.GET("/letters", see)
	engine.GET("/order/:uid", see)
	engine.GET("/away", func(c *gin.Context) { Redirect(c, "/letters?q=1") })
	engine.GET("/out", func(c *gin.Context) { Redirect(c, "https://other.example/x") })
	engine.GET("/broken", func(c *gin.Context) { Problem(c, problem.NoSuchAddress.New("None.")) })
	return engine
}

func askFrom(t *testing.T, h http.Handler, remote, address string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, address, nil)
	r.RemoteAddr, r.Host = remote+":1234", "upstream:8081"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestBehindProxies(t *testing.T) {
	const proxy, stranger = "10.1.2.3", "192.0.2.1"
	forwarded := []string{"X-Forwarded-Prefix", "/orders", "X-Forwarded-Host", "shop.example", "X-Forwarded-For", "198.51.100.7"}
	for name, test := range map[string]struct {
		settings        Settings
		remote, address string
		headers         []string
		want            string
	}{
		"no proxy":                          {Settings{}, proxy, "/letters", forwarded, " /letters upstream:8081 10.1.2.3"},
		"path that stays":                   {Settings{BasePath: "/dlq"}, proxy, "/dlq/letters?q=1", nil, "/dlq /letters?q=1 upstream:8081 10.1.2.3"},
		"path that is removed":              {Settings{BasePath: "/dlq"}, proxy, "/letters?q=1", nil, "/dlq /letters?q=1 upstream:8081 10.1.2.3"},
		"root":                              {Settings{BasePath: "/dlq"}, proxy, "/dlq/", nil, "/dlq / upstream:8081 10.1.2.3"},
		"root without its slash":            {Settings{BasePath: "/dlq"}, proxy, "/dlq", nil, "/dlq / upstream:8081 10.1.2.3"},
		"several segments":                  {Settings{BasePath: "/a/b.c"}, proxy, "/a/b.c/letters", nil, "/a/b.c /letters upstream:8081 10.1.2.3"},
		"escapes behind it stay":            {Settings{BasePath: "/dlq"}, proxy, "/dlq/order/a%20b", nil, "/dlq /order/a%20b upstream:8081 10.1.2.3"},
		"headers of a stranger":             {Settings{BasePath: "/dlq", TrustedProxies: []string{"10.0.0.0/8"}}, stranger, "/letters", forwarded, "/dlq /letters upstream:8081 192.0.2.1"},
		"headers of a proxy":                {Settings{TrustedProxies: []string{"10.0.0.0/8"}}, proxy, "/letters", forwarded, "/orders /letters shop.example 198.51.100.7"},
		"headers of a proxy, path stays":    {Settings{TrustedProxies: []string{"10.1.2.3"}}, proxy, "/orders/letters", forwarded, "/orders /letters shop.example 198.51.100.7"},
		"headers go before the setting":     {Settings{BasePath: "/dlq", TrustedProxies: []string{"10.1.2.3"}}, proxy, "/dlq/letters", forwarded, "/orders /letters shop.example 198.51.100.7"},
		"a prefix like a route":             {Settings{TrustedProxies: []string{"10.1.2.3"}}, proxy, "/order/x", []string{"X-Forwarded-Prefix", "/order"}, "/order /order/x upstream:8081 10.1.2.3"},
		"a chain of proxies":                {Settings{TrustedProxies: []string{"10.1.2.3"}}, proxy, "/letters", []string{"X-Forwarded-Prefix", "/a/, /b"}, "/a/b /letters upstream:8081 10.1.2.3"},
		"a proxy that sends an empty path":  {Settings{BasePath: "/dlq", TrustedProxies: []string{"10.1.2.3"}}, proxy, "/letters", []string{"X-Forwarded-Prefix", "/"}, "/dlq /letters upstream:8081 10.1.2.3"},
		"a path that leads to another host": {Settings{TrustedProxies: []string{"10.1.2.3"}}, proxy, "/letters", []string{"X-Forwarded-Prefix", "//evil.example"}, " /letters upstream:8081 10.1.2.3"},
		"a path that is markup":             {Settings{TrustedProxies: []string{"10.1.2.3"}}, proxy, "/letters", []string{"X-Forwarded-Prefix", `/"><script>`}, " /letters upstream:8081 10.1.2.3"},
		"a path that goes up":               {Settings{TrustedProxies: []string{"10.1.2.3"}}, proxy, "/letters", []string{"X-Forwarded-Prefix", "/a/../b"}, " /letters upstream:8081 10.1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, test.settings.Validate())
			h, err := Behind(test.settings, echo())
			require.NoError(t, err)
			require.Equal(t, test.want, askFrom(t, h, test.remote, test.address, test.headers...).Body.String())
		})
	}
	h, err := Behind(Settings{BasePath: "/dlq"}, echo())
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, askFrom(t, h, proxy, "/dlqs/letters").Code, "it only begins alike")
	require.Equal(t, "/dlq/letters?q=1", askFrom(t, h, proxy, "/dlq/away").Header().Get("Location"))
	require.Equal(t, "https://other.example/x", askFrom(t, h, proxy, "/dlq/out").Header().Get("Location"))
	require.Contains(t, askFrom(t, h, proxy, "/dlq/broken").Body.String(), `"type":"/dlq/problems/no-such-address"`)
}

func TestPagesOverHTTPSAskBrowsersToStayThere(t *testing.T) {
	engine := echo()
	engine.GET("/page", Secure)
	h, err := Behind(Settings{TrustedProxies: []string{"10.1.2.3"}}, engine)
	require.NoError(t, err)
	require.NotEmpty(t, askFrom(t, h, "10.1.2.3", "/page", "X-Forwarded-Proto", "https").Header().Get("Strict-Transport-Security"))
	require.Empty(t, askFrom(t, h, "10.1.2.3", "/page").Header().Get("Strict-Transport-Security"))
	require.Empty(t, askFrom(t, h, "192.0.2.1", "/page", "X-Forwarded-Proto", "https").Header().Get("Strict-Transport-Security"))
}

func TestSettingsBehindProxiesAreRefusedByName(t *testing.T) {
	for path, want := range map[string]string{"": "", "/": "", "/orders": "/orders", "/orders/": "/orders", "/a/b-c_d~e.f": "/a/b-c_d~e.f", "/.well": "/.well"} {
		s := Settings{BasePath: path}
		require.NoError(t, s.Validate(), path)
		require.Equal(t, want, s.BasePath)
	}
	for _, path := range []string{"orders", "//orders", "/orders//x", "/a/../b", "/.", "/a b", "/a?b", "/a%2fb", "https://shop.example/orders", `/"`, "/заказы"} {
		require.ErrorContains(t, (&Settings{BasePath: path}).Validate(), "BASE_PATH: ", path)
	}
	for _, proxy := range []string{"", "nginx", "10.0.0.0/99", "10.0.0"} {
		require.ErrorContains(t, (&Settings{TrustedProxies: []string{proxy}}).Validate(), "TRUSTED_PROXIES: ", proxy)
	}
	_, err := Behind(Settings{BasePath: "/order/x"}, echo())
	require.ErrorContains(t, err, "BASE_PATH: /order/x begins like an address of the program itself")
}

func TestRebaseTouchesAddressesOnly(t *testing.T) {
	const page = `<a href="/">x</a><form action="/login"><img src="/assets/a.svg"><main data-stream="/api" data-stream="">` +
		`<a href="#main" title="/x"><input value="/letters" name="back"><a href="https://x.example/"> href=&#34;/x`
	var seen string
	engine := NewEngine(EngineOptions{})
	engine.GET("/", func(c *gin.Context) { seen = string(Rebase(c.Request, []byte(page))) })
	h, err := Behind(Settings{BasePath: "/dlq"}, engine)
	require.NoError(t, err)
	askFrom(t, h, "10.1.2.3", "/dlq/")
	require.Equal(t, `<a href="/dlq/">x</a><form action="/dlq/login"><img src="/dlq/assets/a.svg"><main data-stream="/dlq/api" data-stream="">`+
		`<a href="#main" title="/x"><input value="/letters" name="back"><a href="https://x.example/"> href=&#34;/x`, seen)
	require.Equal(t, page, string(Rebase(&http.Request{URL: &url.URL{}}, []byte(page))))
}
