package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/web"
)

func sha(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

func sha256Base64(text string) string {
	sum := sha(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// browser keeps cookies by name.
type browser struct {
	r       *rig
	cookies map[string]*http.Cookie
	headers []string
}

func newBrowser(r *rig, headers ...string) *browser {
	return &browser{r, map[string]*http.Cookie{}, headers}
}

func (b *browser) ask(t *testing.T, method, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	headers = append(headers, b.headers...)
	headers = append(headers, "Accept", "text/html,*/*")
	for name, cookie := range b.cookies {
		if strings.HasPrefix(path, cookie.Path) || strings.HasPrefix("/dlq"+path, cookie.Path) {
			headers = append(headers, "Cookie", name+"="+cookie.Value)
		}
	}
	w := b.r.ask(method, path, headers...)
	for _, cookie := range w.Result().Cookies() {
		require.True(t, cookie.HttpOnly)
		require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
		} else {
			b.cookies[cookie.Name] = cookie
		}
	}
	return w
}

// atIssuer follows a redirect to the issuer, and returns where it sends the browser.
func atIssuer(t *testing.T, location string) string {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(location)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	return response.Header.Get("Location")
}

// signIn goes the whole way, and returns the last answer.
func (b *browser) signIn(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := b.ask(t, "GET", path)
	require.Equal(t, 303, w.Code, w.Body)
	back, err := url.Parse(atIssuer(t, w.Header().Get("Location")))
	require.NoError(t, err)
	return b.ask(t, "GET", strings.TrimPrefix(back.RequestURI(), "/dlq"))
}

func (b *browser) cookie(t *testing.T, name string) *http.Cookie {
	t.Helper()
	for full, cookie := range b.cookies {
		if strings.Contains(full, "orderhub_"+name+"_8081") {
			return cookie
		}
	}
	t.Fatalf("no cookie %s among %v", name, b.cookies)
	return nil
}

// stateOf is the last parameter of an address to come back to.
func stateOf(callback string) string {
	_, state, _ := strings.Cut(callback, "&state=")
	return "state=" + state
}

func TestSignInAndOut(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	b := newBrowser(r)
	w := b.ask(t, "GET", "/read?q=1")
	require.Equal(t, 303, w.Code)
	require.Equal(t, "/signin?to=%2Fread%3Fq%3D1", w.Header().Get("Location"))
	w = b.signIn(t, w.Header().Get("Location"))
	require.Equal(t, 303, w.Code, w.Body)
	require.Equal(t, "/read?q=1", w.Header().Get("Location"))
	session := b.cookie(t, "session")
	require.Equal(t, "/", session.Path)
	require.False(t, session.Secure, "there is no TLS")
	for part := range strings.SplitSeq(session.Value, ".") {
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		require.NoError(t, err)
		require.NotContains(t, string(decoded), `"ann"`, "the session is encrypted")
	}
	require.Len(t, b.cookies, 2, "the sign-in's own cookie is gone")

	w = b.ask(t, "GET", "/read")
	require.Equal(t, 200, w.Code)
	fields := strings.Split(w.Body.String(), "|")
	require.Equal(t, []string{"session", "ann (ann@shop.example)", "orders:read"}, fields[:3])
	csrf := fields[3]
	require.Len(t, csrf, 26)

	// Changes need the session's token.
	require.Equal(t, 403, b.ask(t, "POST", "/read").Code)
	require.Equal(t, 403, b.ask(t, "POST", "/read", "X-CSRF-Token", "x").Code)
	require.Equal(t, 403, b.ask(t, "POST", "/read", "X-CSRF-Token", csrf, "Sec-Fetch-Site", "cross-site").Code)
	require.Equal(t, 200, b.ask(t, "POST", "/read", "X-CSRF-Token", csrf).Code)
	other := newBrowser(r)
	other.signIn(t, "/signin")
	require.Equal(t, 403, other.ask(t, "POST", "/read", "X-CSRF-Token", csrf).Code, "each session has its own")
	require.Equal(t, 403, b.ask(t, "GET", "/act").Code, "who is signed in and lacks a scope is told so")

	require.Equal(t, 403, b.ask(t, "POST", "/signout").Code)
	caller, known := r.verified.Get(credential{true, sha256.Sum256([]byte(session.Value))})
	require.True(t, known)
	w = b.ask(t, "POST", "/signout", "X-CSRF-Token", csrf)
	require.Equal(t, 200, w.Code)
	select {
	case <-caller.Ended():
	default:
		t.Error("streams go on after the sign-out")
	}
	to, err := url.Parse(strings.TrimPrefix(w.Header().Get("Refresh"), "0; url="))
	require.NoError(t, err)
	require.Equal(t, i.URL+"/logout", to.Scheme+"://"+to.Host+to.Path)
	require.Equal(t, "test", to.Query().Get("from"))
	require.Equal(t, clientID, to.Query().Get("client_id"))
	require.Equal(t, "http://127.0.0.1:8081/signout", to.Query().Get("post_logout_redirect_uri"))
	require.NotEmpty(t, to.Query().Get("id_token_hint"))
	require.Empty(t, b.cookies)
	require.Equal(t, 303, b.ask(t, "GET", "/read").Code)
	w = b.ask(t, "GET", "/signout")
	require.Equal(t, 200, w.Code)
	require.Contains(t, w.Body.String(), `href="/signin"`)
	require.Equal(t, web.Policy, w.Header().Get("Content-Security-Policy"))
	require.EqualValues(t, 2, testutil.ToFloat64(r.metrics.signIns.WithLabelValues("done")))
	require.NotContains(t, fmt.Sprint(r.logged.All()), "ann", "the log names no people")
}

func TestProgramsAreNotSentToTheSignIn(t *testing.T) {
	r := newRig(t, withIssuer(newTestIssuer(t)))
	require.Equal(t, 401, r.ask("GET", "/read", "Accept", "application/json").Code)
	require.Equal(t, 401, r.ask("POST", "/read", "Accept", "text/html").Code)
	require.Equal(t, 303, r.ask("GET", "/read", "Accept", "text/html").Code)
}

func TestSignInBehindAProxy(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i), func(o *Options) {
		o.Web = web.Settings{BasePath: "/dlq", TrustedProxies: []string{"192.0.2.7"}}
	})
	b := newBrowser(r, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "shop.example", "X-Forwarded-Prefix", "/dlq")
	w := b.ask(t, "GET", "/read")
	require.Equal(t, "/dlq/signin?to=%2Fread", w.Header().Get("Location"))
	w = b.ask(t, "GET", "/signin?to=%2Fread")
	to, err := url.Parse(w.Header().Get("Location"))
	require.NoError(t, err)
	require.Equal(t, "https://shop.example/dlq/signin/callback", to.Query().Get("redirect_uri"))
	back, err := url.Parse(atIssuer(t, to.String()))
	require.NoError(t, err)
	w = b.ask(t, "GET", strings.TrimPrefix(back.RequestURI(), "/dlq"))
	require.Equal(t, "/dlq/read", w.Header().Get("Location"))
	session := b.cookie(t, "session")
	require.True(t, session.Secure)
	require.True(t, strings.HasPrefix(session.Name, "__Secure-"))
	require.Equal(t, "/dlq/", session.Path)
	require.Equal(t, 200, b.ask(t, "GET", "/read").Code)
	stranger := newBrowser(r, "X-Forwarded-Proto", "https", "Remote", "198.51.100.1:2")
	require.NotContains(t, stranger.ask(t, "GET", "/signin").Header().Get("Location"), "https%3A", "a stranger's headers do not count")
}

func TestSessionsOfOldKeys(t *testing.T) {
	i := newTestIssuer(t)
	s := withIssuer(i)
	before := newRig(t, s)
	b := newBrowser(before)
	b.signIn(t, "/signin")
	with := func(key string) int {
		s.SessionKey = config.Secret(key)
		b.r = newRig(t, s)
		return b.ask(t, "GET", "/read").Code
	}
	require.Equal(t, 200, with(keyOne), "another replica, or after a restart")
	require.Equal(t, 200, with(keyTwo+", "+keyOne), "the old key still decrypts")
	require.Equal(t, 303, with(keyTwo), "it is gone")
}

func TestCookiesThatWereTamperedWith(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	b := newBrowser(r)
	state := b.ask(t, "GET", "/signin")
	require.Equal(t, 303, state.Code)
	signInValue := b.cookie(t, "signin").Value
	b.signIn(t, "/signin")
	session := b.cookie(t, "session")
	good := session.Value
	require.Equal(t, 200, b.ask(t, "GET", "/read").Code, "it is remembered from now on")
	for n := 0; n < len(good); n += 7 {
		changed := []byte(good)
		changed[n] ^= 1
		session.Value = string(changed)
		require.Equal(t, 303, b.ask(t, "GET", "/read").Code, n)
	}
	for _, value := range []string{signInValue, b.cookie(t, "hint").Value, "", "x", "....", good[:len(good)-1], good + "A", strings.Repeat("x", 5000)} {
		session.Value = value
		require.Equal(t, 303, b.ask(t, "GET", "/read").Code, value)
	}
	require.Equal(t, 401, r.bearer("/read", good).Code, "a cookie is no token")
	session.Value = good
	require.Equal(t, 200, b.ask(t, "GET", "/read").Code)
}

func TestASessionEnds(t *testing.T) {
	r := newRig(t, withIssuer(newTestIssuer(t)))
	r.settings.SessionLife = 1500 * time.Millisecond
	b := newBrowser(r)
	b.signIn(t, "/signin")
	w := b.ask(t, "GET", "/read")
	require.Equal(t, 200, w.Code)
	caller := r.people.caller(b.cookie(t, "session").Value)
	<-caller.Ended()
	require.Equal(t, 303, b.ask(t, "GET", "/read").Code)
}

func TestSignInsThatFail(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	fail := func(name string, w *httptest.ResponseRecorder) {
		t.Helper()
		require.Equal(t, 400, w.Code, name)
		require.Contains(t, w.Body.String(), "sign-in-failed", name)
		for _, cookie := range w.Result().Cookies() {
			require.NotContains(t, cookie.Name, "session", name)
		}
	}
	begin := func(b *browser) (callback string) {
		w := b.ask(t, "GET", "/signin")
		back, err := url.Parse(atIssuer(t, w.Header().Get("Location")))
		require.NoError(t, err)
		return back.RequestURI()
	}
	b, victim := newBrowser(r), newBrowser(r)
	callback := begin(b)
	fail("of another browser (login CSRF)", victim.ask(t, "GET", callback))
	fail("another state", b.ask(t, "GET", "/signin/callback?code=x&state=other"))
	fail("no state", b.ask(t, "GET", "/signin/callback"))
	require.Equal(t, 303, b.ask(t, "GET", callback).Code, "the right one")
	fail("twice", b.ask(t, "GET", callback))

	b = newBrowser(r)
	callback = begin(b)
	state := stateOf(callback)
	fail("refused", b.ask(t, "GET", "/signin/callback?error=access_denied&"+state))
	b = newBrowser(r)
	callback = begin(b)
	state = stateOf(callback)
	fail("invented code", b.ask(t, "GET", "/signin/callback?code=invented&"+state))
	require.NotContains(t, fmt.Sprint(r.logged.All()), "leak", "what else the issuer says is not logged")
	require.NotEmpty(t, r.logged.FilterMessage("sign-in failed").All())

	for name, change := range map[string]map[string]any{
		"another nonce":    {"nonce": "x"},
		"no nonce":         {"nonce": nil},
		"another audience": {"aud": audience},
		"expired":          {"exp": time.Now().Add(-time.Hour).Unix()},
		"another issuer":   {"iss": "https://idp.example"},
	} {
		i.claims = change
		fail(name, newBrowser(r).signIn(t, "/signin"))
	}
	i.claims = nil
	i.override = func(map[string]any) string { return "" }
	fail("no ID token", newBrowser(r).signIn(t, "/signin"))
	i.override = nil
	// The PKCE verifier is this sign-in's own.
	b = newBrowser(r)
	one, two := begin(b), begin(b)
	code := one[strings.Index(one, "code="):strings.Index(one, "&")]
	fail("code of another sign-in", b.ask(t, "GET", "/signin/callback?"+code+"&"+stateOf(two)))

	for _, to := range []string{"//evil.example", "https://evil.example", `/\evil.example`} {
		w := newBrowser(r).signIn(t, "/signin?to="+url.QueryEscape(to))
		require.Equal(t, "/", w.Header().Get("Location"), to)
	}
}

func TestALargeIDTokenIsNotKept(t *testing.T) {
	i := newTestIssuer(t)
	r := newRig(t, withIssuer(i))
	i.claims = map[string]any{"groups": strings.Repeat("x", maxHint)}
	b := newBrowser(r)
	b.signIn(t, "/signin")
	require.Len(t, b.cookies, 1)
	csrf := strings.Split(b.ask(t, "GET", "/read").Body.String(), "|")[3]
	w := b.ask(t, "POST", "/signout", "X-CSRF-Token", csrf)
	require.Equal(t, 200, w.Code)
	require.NotContains(t, w.Header().Get("Refresh"), "post_logout_redirect_uri", "issuers do not go back without a hint")
}
