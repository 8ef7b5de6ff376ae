package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
)

// request asks with headers that a browser of an attacker would send.
func (p *person) request(method, address string, form url.Values, headers ...string) (int, string, http.Header) {
	p.c.t.Helper()
	r, err := http.NewRequestWithContext(p.c.t.Context(), method, p.c.server.URL+address, strings.NewReader(form.Encode()))
	require.NoError(p.c.t, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	return p.do(r)
}

// changes are the requests that change something or show people's data.
var changes = map[string]url.Values{
	"/jobs":          {"kind": {"discard"}, "why": {"w"}, "match": {""}},
	"/jobs/x/stop":   {},
	"/letter/reveal": {"id": {"orders/0/0"}},
	"/edit":          {"id": {"orders/0/0"}},
	"/edit/check":    {"id": {"orders/0/0"}, "value": {"{}"}},
	"/edit/send":     {"id": {"orders/0/0"}, "value": {"{}"}},
	"/logout":        {},
}

func TestConsoleChangesNothingWithoutTheToken(t *testing.T) {
	c := newConsole(t, nil)
	c.letters(1)
	p := c.person()
	p.page("/letters", "3 letters") // reading is open
	for address, form := range changes {
		status, body := p.post(address, form)
		require.Equal(t, http.StatusUnauthorized, status, address)
		require.Contains(t, shown(body), "Sign in first", address)
	}
	for _, wrong := range []string{"", consoleToken + "x", consoleToken[1:], strings.ToUpper(consoleToken)} {
		status, body := p.post("/login", url.Values{"token": {wrong}, "actor": {"eve"}})
		require.Equal(t, http.StatusForbidden, status, wrong)
		require.Contains(t, shown(body), "that is not the token")
	}
	for _, name := range []string{"  ", "\x00\u200b\x1b"} {
		status, body := p.post("/login", url.Values{"token": {consoleToken}, "actor": {name}})
		require.Equal(t, http.StatusForbidden, status)
		require.Contains(t, shown(body), "say who you are")
	}
	require.Len(t, c.refs(letter.Open), 3)
}

func TestConsoleSessions(t *testing.T) {
	now := time.Now()
	c := newConsole(t, func(o *console.Options) { o.Now = func() time.Time { return now } })
	p := c.person()
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	status, _, header := p.request(http.MethodPost, "/login", url.Values{"token": {consoleToken}, "actor": {"ann"}, "to": {"//evil.example/"}}, "Origin", c.server.URL)
	require.Equal(t, http.StatusSeeOther, status)
	require.Equal(t, "/", header.Get("Location"), "it leads nowhere else")
	cookie := header.Get("Set-Cookie")
	for _, wanted := range []string{"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"} {
		require.Contains(t, cookie, wanted)
	}
	require.NotContains(t, cookie, consoleToken)

	_, body := p.get("/")
	require.Contains(t, body, "Sign out")
	forged, _, _ := strings.Cut(cookie, ";")
	eve := c.person()
	for _, attempt := range []string{forged + "x", strings.Replace(forged, ".", "A.", 1), "orderhub_console=1", forged[:len(forged)-4]} {
		_, body, _ := eve.request(http.MethodGet, "/", nil, "Cookie", attempt)
		require.NotContains(t, body, "Sign out", attempt)
	}
	_, body, _ = eve.request(http.MethodGet, "/", nil, "Cookie", forged)
	require.Contains(t, body, "Sign out", "the cookie is what counts")
	now = now.Add(13 * time.Hour)
	_, body, _ = eve.request(http.MethodGet, "/", nil, "Cookie", forged)
	require.NotContains(t, body, "Sign out", "it ends")
}

func TestConsoleRefusesOtherSites(t *testing.T) {
	c := newConsole(t, nil)
	c.letters(1)
	p := c.signedIn()
	p.page("/letters", "3 letters")
	_, body := p.get("/audit")
	csrf := formToken.FindStringSubmatch(body)[1]
	form := url.Values{"kind": {"discard"}, "why": {"w"}, "match": {""}}
	good := url.Values{"kind": {"discard"}, "why": {"w"}, "match": {""}, "csrf": {csrf}}
	for name, attempt := range map[string]struct {
		form    url.Values
		headers []string
	}{
		"no form token":          {form, []string{"Origin", c.server.URL, "Sec-Fetch-Site", "same-origin"}},
		"somebody else's token":  {url.Values{"kind": {"discard"}, "why": {"w"}, "csrf": {csrf + "x"}}, []string{"Origin", c.server.URL}},
		"another site":           {good, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		"another port":           {good, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"}},
		"an old browser":         {good, []string{"Origin", "https://evil.example"}},
		"a sandboxed frame":      {good, []string{"Origin", "null"}},
		"nothing but the cookie": {form, nil},
	} {
		status, _, _ := p.request(http.MethodPost, "/jobs", attempt.form, attempt.headers...)
		require.Equal(t, http.StatusForbidden, status, name)
	}
	status, _, _ := p.request(http.MethodPost, "/jobs/dry-run", url.Values{"kind": {"dry-run"}}, "Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusForbidden, status, "not even what changes nothing")
	require.Len(t, c.refs(letter.Open), 3)

	// A name that somebody points here is not the console's.
	for _, host := range []string{"evil.example", "evil.example:8082", "127.0.0.1.evil.example", ""} {
		status, _, _ := p.request(http.MethodGet, "/letters", nil, "Host", host)
		if host == "" {
			continue // Go's client fills it in
		}
		require.Equal(t, http.StatusMisdirectedRequest, status, host)
	}
	for _, host := range []string{"localhost:1", "LOCALHOST", "[::1]:8082", "127.0.0.1", "10.0.0.1"} {
		status, _, _ := p.request(http.MethodGet, "/letters", nil, "Host", host)
		require.Equal(t, http.StatusOK, status, host)
	}
	status, _ = p.post("/jobs", good)
	require.Equal(t, http.StatusOK, status, "its own form works")
	require.Empty(t, c.refs(letter.Open))
}

func TestConsoleHeaders(t *testing.T) {
	c := newConsole(t, nil)
	for _, address := range []string{"/", "/letters", "/letter?id=x", "/nowhere", "/login", "/audit"} {
		_, _, header := c.person().request(http.MethodGet, address, nil)
		policy := header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'; script-src 'self'; style-src 'self'", address)
		require.Contains(t, policy, "frame-ancestors 'none'", address)
		require.NotContains(t, policy, "unsafe", address)
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), address)
		require.Equal(t, "no-store", header.Get("Cache-Control"), address)
		require.Equal(t, "no-referrer", header.Get("Referrer-Policy"), address)
	}
}

func TestConsoleLimitsAttempts(t *testing.T) {
	now := time.Now()
	c := newConsole(t, func(o *console.Options) { o.Now = func() time.Time { return now } })
	p := c.person()
	for range 10 {
		status, _ := p.post("/login", url.Values{"token": {"guess"}, "actor": {"eve"}})
		require.Equal(t, http.StatusForbidden, status)
	}
	status, body := p.post("/login", url.Values{"token": {consoleToken}, "actor": {"eve"}})
	require.Equal(t, http.StatusTooManyRequests, status, "the right one can't be found out that way")
	require.Contains(t, shown(body), "wait a minute")
	now = now.Add(time.Minute)
	status, body = p.post("/login", url.Values{"token": {consoleToken}, "actor": {"ann"}, "to": {"/audit"}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "Sign out")
}

// Whoever can be reached by others shows nothing before the token is given.
func TestConsoleBeyondTheLoopback(t *testing.T) {
	c := newConsole(t, func(o *console.Options) {
		o.Listen = "0.0.0.0:8082"
		o.Auth = auth.Settings{Auth: "off", Hosts: []string{"dlq.example.com"}}
	})
	id := c.letters(1)[0]
	p := c.person()
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, address := range []string{"/", "/letters", letterPath(id), "/jobs", "/audit", "/confirm?kind=redrive"} {
		status, body := p.get(address)
		require.Equal(t, http.StatusSeeOther, status, address)
		require.NotContains(t, body, id)
	}
	status, _ := p.post("/jobs/dry-run", url.Values{"kind": {"dry-run"}, "match": {""}})
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = p.get("/login")
	require.Equal(t, http.StatusOK, status)
	for host, want := range map[string]int{"dlq.example.com": 200, "10.1.2.3:8082": 200, "evil.example": 421} {
		status, _, _ := p.request(http.MethodGet, "/login", nil, "Host", host)
		require.Equal(t, want, status, host)
	}
	p.http.CheckRedirect = nil
	_, body := p.post("/login", url.Values{"token": {consoleToken}, "actor": {"ann"}, "to": {"/letters"}})
	require.Contains(t, body, "Sign out")
	p.page("/letters", "3 letters")

	_, err := console.New(console.Options{Listen: "0.0.0.0:8082", Auth: auth.Settings{Auth: "off"}, Token: "short"})
	require.ErrorContains(t, err, "at least 16")
}

// Over TLS the cookie is bound to it.
func TestConsoleOverTLS(t *testing.T) {
	c := newConsole(t, func(o *console.Options) {
		o.Auth.Auth, o.Web.TrustedProxies = "off", []string{"127.0.0.1"}
	})
	p := c.person()
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	_, _, header := p.request(http.MethodPost, "/login", url.Values{"token": {consoleToken}, "actor": {"ann"}}, "X-Forwarded-Proto", "https")
	require.Regexp(t, `^__Secure-orderhub_session_\d+=.*Secure`, header.Get("Set-Cookie"))
	require.NotEmpty(t, header.Get("Strict-Transport-Security"))
}
