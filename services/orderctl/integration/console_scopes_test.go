package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
)

// withScopes starts a console that asks for credentials, and returns tokens by their
// scopes.
func withScopes(t *testing.T, w *world, scopes ...auth.Scope) (*consoleWorld, map[auth.Scope]string) {
	t.Helper()
	tokens, file := map[auth.Scope]string{}, filepath.Join(t.TempDir(), "tokens.yaml")
	var entries []byte
	for _, s := range scopes {
		token, entry, err := auth.NewToken(fmt.Sprintf("program-%d", s), s, time.Time{})
		require.NoError(t, err)
		tokens[s], entries = token, append(entries, entry...)
	}
	require.NoError(t, os.WriteFile(file, entries, 0o600))
	return consoleOn(t, w, func(o *console.Options) {
		o.Auth = auth.Settings{Auth: "on", TokensFile: file, Burst: 1}
		o.Token = ""
	}), tokens
}

// withIssuer starts a console at which people sign in with an issuer, which does not
// answer.
func withIssuer(t *testing.T, w *world) *consoleWorld {
	t.Helper()
	return consoleOn(t, w, func(o *console.Options) {
		o.Auth = auth.Settings{Auth: "on", Issuer: "http://127.0.0.1:1", ClientID: "console", SessionKey: "the key of the tests that is long enough", SessionLife: time.Hour, Burst: 1}
		o.Token = ""
	})
}

const (
	reading   = auth.LettersRead
	revealing = auth.LettersRead | auth.LettersPersonal
	acting    = auth.LettersRead | auth.LettersAct
	editing   = revealing | acting
)

// rules are the scopes that each route needs; 0: none.
var rules = map[string]auth.Scope{
	"GET /assets/:name": 0, "GET /healthz": 0, "GET /login": 0,
	"GET /": reading, "GET /letters": reading, "GET /letter": reading, "GET /confirm": reading, "GET /jobs": reading, "GET /jobs/:id": reading, "GET /audit": reading,
	"POST /jobs/dry-run": reading, "POST /letter/reveal": revealing, "POST /jobs": acting, "POST /jobs/:id/stop": acting,
	"POST /edit": editing, "POST /edit/check": editing, "POST /edit/send": editing,
}

// Each route refuses who brings no credential, or one that lacks a scope that it needs. A
// new route needs a rule.
func TestEachRouteOfTheConsoleHasARule(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	nothing := auth.AllScopes &^ editing // which no route asks for
	c, tokens := withScopes(t, w, nothing, nothing|reading, nothing|revealing, nothing|acting, nothing|editing, nothing|auth.LettersAct|auth.LettersPersonal)
	ask := func(token, method, address, accept string) (int, string, http.Header) {
		p := c.person()
		p.token = token
		p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		return p.request(method, address, url.Values{"kind": {"discard"}}, "Accept", accept)
	}
	reader := c.person()
	reader.token = tokens[nothing|reading]
	reader.page("/letters", "3 letters")
	tried := 0
	for _, route := range c.console.Handler().(*gin.Engine).Routes() {
		need, known := rules[strings.Replace(route.Method, "HEAD", "GET", 1)+" "+route.Path]
		require.True(t, known, "%s %s has no rule: which scopes does it need?", route.Method, route.Path)
		address := strings.NewReplacer(":id", "x", ":name", "x").Replace(route.Path)
		for scopes, token := range tokens {
			status, body, header := ask(token, route.Method, address, "application/json")
			if missing := need &^ scopes; missing != 0 {
				require.Equal(t, http.StatusForbidden, status, "%s %s with %s", route.Method, address, scopes)
				require.Contains(t, header.Get("WWW-Authenticate"), "insufficient_scope")
				require.Equal(t, "application/problem+json", header.Get("Content-Type"))
				if route.Method != http.MethodHead {
					require.Contains(t, body, missing.String())
				}
			} else {
				require.NotContains(t, []int{401, 403, 500, 503}, status, "%s %s with %s", route.Method, address, scopes)
			}
			tried++
		}
		status, _, header := ask("", route.Method, address, "application/json")
		if need == 0 {
			require.NotContains(t, []int{401, 403}, status, address)
			continue
		}
		require.Equal(t, http.StatusUnauthorized, status, address)
		require.Contains(t, header.Get("WWW-Authenticate"), "Bearer")
		status, body, _ := ask("", route.Method, address, "text/html")
		require.Equal(t, http.StatusUnauthorized, status, address)
		require.NotContains(t, body, "orders/0")
		status, _, _ = ask("orderhub_wrong", route.Method, address, "application/json")
		require.Equal(t, http.StatusUnauthorized, status, address)
	}
	require.Greater(t, tried, 100)
}

// The identity comes from the credential, and so does what is shown.
func TestScopesOfTheConsole(t *testing.T) {
	w := newWorld(t)
	id := w.failing(0, "f", sampleOrder(t, "f", "locale", `"english"`), time.Hour)
	c, tokens := withScopes(t, w, reading, revealing, acting)
	as := func(scopes auth.Scope) *person {
		p := c.person()
		p.token = tokens[scopes]
		return p
	}
	audited := func() string {
		written, err := os.ReadFile(c.audit)
		require.NoError(t, err)
		return string(written)
	}
	body := as(reading).page(letterPath(id), "Where it came from")
	require.NotContains(t, body, "Testov")
	require.NotContains(t, body, "Reveal</button>")
	status, body := as(reading).post("/letter/reveal", url.Values{"id": {id}})
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, shown(body), "letters:personal")
	require.Contains(t, audited(), fmt.Sprintf(`"action":"reveal","targets":["%s"],"allowed":false,"actor":"program-%d","kind":"token"`, id, reading))
	status, body = as(revealing).post("/letter/reveal", url.Values{"id": {id}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "Testov")
	require.Contains(t, audited(), fmt.Sprintf(`"allowed":true,"actor":"program-%d","kind":"token"`, revealing))

	// Of strangers no form is read.
	for token, want := range map[string]int{"": http.StatusUnauthorized, tokens[acting]: http.StatusBadRequest} {
		p := c.person()
		p.token = token
		request, err := http.NewRequest(http.MethodPost, c.server.URL+"/jobs", strings.NewReader("a=%zz"))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		status, _, _ = p.do(request)
		require.Equal(t, want, status)
	}

	// Whether somebody's data is in a letter is personal data, too.
	for _, search := range []string{"/letters?text=Testov", "/letters?key=f", "/letters?q=f", "/letters?q=79991234567", "/confirm?kind=dry-run&match=text%3DTestov"} {
		status, _ = as(acting).get(search)
		require.Equal(t, http.StatusForbidden, status, search)
		before := strings.Count(audited(), `"action":"search","allowed":true`)
		status, _ = as(revealing).get(search)
		require.Equal(t, http.StatusOK, status, search)
		require.Equal(t, before+1, strings.Count(audited(), `"action":"search","allowed":true`), search)
	}
	as(acting).page("/letters?q=554b89c448721fetest", "0 letters")
	for _, set := range []string{"delivery.name=Test Testov", "locale=replace(copy(delivery.name), '^T.*', 'en')", `.=replace(., 'Testov', '')`} {
		for _, kind := range []string{"dry-run", "redrive"} {
			address := "/jobs" + strings.TrimPrefix("/"+kind, "/redrive")
			status, body = as(acting).post(address, url.Values{"kind": {kind}, "letter": {id}, "set": {set}})
			require.Equal(t, http.StatusForbidden, status, "%s to %s", set, kind)
			require.Contains(t, shown(body), "letters:personal")
		}
	}
	status, body = as(acting).post("/jobs", url.Values{"kind": {"discard"}, "why": {"tests"}, "letter": {id}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, shown(body), "Discarded: 1 of 1")
	require.Regexp(t, `"action":"discard: one letter",.*"why":"tests","allowed":true`, audited())
}

// Pages of many letters, which may read the whole topic, cost more than others.
func TestListsOfTheConsoleCostMore(t *testing.T) {
	w := newWorld(t)
	for address, left := range map[string]string{"/letters": "r=0;", "/confirm": "r=0;", "/": "r=0;", "/jobs": "r=9;", "/letter": "r=9;"} {
		token, entry, err := auth.NewToken("program", reading, time.Time{})
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "tokens.yaml")
		require.NoError(t, os.WriteFile(file, entry, 0o600))
		p := consoleOn(t, w, func(o *console.Options) {
			o.Auth, o.Token = auth.Settings{Auth: "on", TokensFile: file, Rate: 1, Burst: 10}, ""
		}).person()
		p.token = token
		_, _, header := p.request(http.MethodGet, address, nil)
		require.Contains(t, header.Get("RateLimit"), left, address)
	}
}

// People go to the issuer, by a button where they look for one.
func TestSignInPageOfTheConsole(t *testing.T) {
	c := withIssuer(t, newWorld(t))
	p := c.person()
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	_, body := p.get("/login?to=/jobs")
	require.Contains(t, body, `href="/signin?to=%2fjobs"`)
	require.Contains(t, shown(body), "Sign in with 127.0.0.1:1")
	require.NotContains(t, body, `name="token"`)
	_, _, header := p.request(http.MethodGet, "/letters", nil)
	require.Equal(t, "/signin?to=%2Fletters", header.Get("Location"))
	status, _ := p.post("/login", url.Values{"token": {consoleToken}, "actor": {"eve"}})
	require.Equal(t, http.StatusMethodNotAllowed, status, "typed names do not count")
}

// Each kind of personal data is masked in every output, or shown with a record.
func TestKindsOfPersonalDataInTheConsole(t *testing.T) {
	kinds := map[string]string{
		"name": "Quentin Quibble", "phone": "+4917099887766", "email": "quibble@quirk.example", "address": "Quarry Lane 9", "zip": "QZ99QX",
		"city": "Quimperle", "region": "Quercyland", "customer_id": "quid-4711-q", "transaction": "qtx-0815-q", "key": "qkey-9182-q",
	}
	var changes []string
	for kind, text := range kinds {
		if kind != "key" {
			changes = append(changes, kind, `"`+text+`"`)
		}
	}
	w := newWorld(t)
	id := w.failing(0, kinds["key"], sampleOrder(t, "u", append(changes, "locale", `"english"`)...), time.Hour)
	c, tokens := withScopes(t, w, reading, acting, editing)
	as := func(scopes auth.Scope) *person {
		p := c.person()
		p.token = tokens[scopes]
		return p
	}
	audited := func() string {
		written, err := os.ReadFile(c.audit)
		require.NoError(t, err)
		return string(written)
	}
	as(reading).page("/letters", "1 letter<")
	_, tried := as(acting).post("/jobs/dry-run", url.Values{"kind": {"dry-run"}, "letter": {id}, "set": {"locale=en"}, "job": {"TRY"}})
	require.Contains(t, shown(tried), "locale")
	masked := map[string]string{"a dry run that edits": tried}
	for route := range rules {
		for _, p := range []*person{as(reading), as(acting)} {
			method, path, _ := strings.Cut(route, " ")
			address := strings.Replace(path, ":id", "TRY", 1) + "?" + url.Values{"id": {id}, "kind": {"redrive"}, "letter": {id}, "job": {"TRY"}}.Encode()
			if method == http.MethodPost && rules[route] == acting {
				continue // it redirects to the pages that are read anyway
			}
			_, body, header := p.request(method, address, url.Values{"id": {id}, "kind": {"dry-run"}, "letter": {id}})
			masked[route] += body + fmt.Sprint(header)
		}
	}
	for kind, text := range kinds {
		for output, body := range masked {
			require.NotContains(t, strings.ToLower(body), strings.ToLower(text), "%s in %s", kind, output)
		}
	}
	require.NotContains(t, audited(), `"allowed":true,"actor":"program`, "nobody has seen anything")
	for _, show := range []string{"/letter/reveal", "/edit"} {
		before := strings.Count(audited(), `"targets":["`+id+`"],"allowed":true`)
		_, body := as(editing).post(show, url.Values{"id": {id}})
		for kind, text := range kinds {
			if kind != "key" || show != "/edit" { // the editor has the value alone
				require.Contains(t, body, strings.ReplaceAll(text, "+", "&#43;"), "%s at %s", kind, show)
			}
		}
		require.Equal(t, before+1, strings.Count(audited(), `"targets":["`+id+`"],"allowed":true`), show)
	}
	// The editor shows what the letter had with each check, too; typing is one record.
	second := w.failing(0, kinds["key"], sampleOrder(t, "u2", append(changes, "locale", `"english"`)...), time.Hour)
	require.Eventually(t, func() bool { _, body := as(reading).get("/letters"); return strings.Contains(body, "2 letters") }, 30*time.Second, 20*time.Millisecond)
	for _, ask := range []string{"/edit/check", "/edit/send"} {
		_, body := as(editing).post(ask, url.Values{"id": {second}, "value": {"{}"}, "do": {"check"}})
		require.Contains(t, body, kinds["name"], ask)
		require.Equal(t, 1, strings.Count(audited(), `"action":"edit","targets":["`+second+`"],"allowed":true`), ask)
	}
	many := url.Values{"letter": make([]string, 5000), "kind": {"discard"}}
	as(reading).post("/jobs", many)
	require.Contains(t, audited(), `"count":5000,"allowed":false`)
	require.NotContains(t, audited(), strings.Repeat(`"",`, 20), "what is refused does not fill the audit log")
	log := audited()
	for kind, text := range kinds {
		require.NotContains(t, log, text, "%s in the audit log", kind)
	}
}
