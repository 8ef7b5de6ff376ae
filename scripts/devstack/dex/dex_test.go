package dex

import (
	"embed"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/scripts/devstack/browser"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

const (
	deadline = time.Minute
	tick     = 10 * time.Millisecond
)

var none embed.FS

// A person signs in with a real provider in a real browser, changes something, and signs
// out at the provider, too. A program uses the provider's token.
func TestSigningInAndOut(t *testing.T) {
	port, err := ports.Free()
	require.NoError(t, err)
	addr := ports.Loopback(port)
	const client, password = "orderhub", "correct horse"
	issuer := StartForTest(t,
		[]Client{{ID: client, Secret: "secret", RedirectURIs: []string{"http://" + addr + "/signin/callback"}, PostLogoutRedirectURIs: []string{"http://" + addr + "/signout"}}},
		[]Person{{Email: "ann@shop.example", Password: password, Groups: []string{"orders:read", "staff"}}, {Email: "bob@shop.example", Password: password}})

	t.Setenv("HTTP_AUTH", "on")
	t.Setenv("OIDC_ISSUER", issuer)
	t.Setenv("OIDC_AUDIENCE", client)
	t.Setenv("OIDC_CLIENT_ID", client)
	t.Setenv("OIDC_CLIENT_SECRET", "secret")
	t.Setenv("OIDC_SCOPES_CLAIM", "groups")
	t.Setenv("OIDC_SIGNIN_SCOPES", "openid,email,groups")
	t.Setenv("HTTP_SESSION_KEY", "0123456789abcdef0123456789abcdef")
	var settings struct{ Auth auth.Settings }
	require.NoError(t, config.Load(&settings))
	checks := health.NewRegistry()
	guard, err := auth.New(settings.Auth, auth.Options{Addr: addr, Log: zap.NewNop(), Health: checks})
	require.NoError(t, err)
	require.NoError(t, guard.Start(t.Context()))
	t.Cleanup(guard.Stop)
	engine := web.NewEngine(web.EngineOptions{})
	look := web.NewLook(none, ".", none, ".", nil)
	look.Register(engine)
	engine.Use(web.Secure, guard.Identify())
	guard.Register(engine)
	page := func(c *gin.Context) {
		caller := auth.CallerOf(c)
		c.Data(http.StatusOK, "text/html", []byte(`<!doctype html><html lang="en"><title>x</title><main>`+c.Request.Method+" "+caller.Name+" "+caller.Scopes.String()+
			`</main><form action="/" method="post"><input type="hidden" name="csrf" value="`+caller.CSRF+`"><button id="change">Change</button></form>`+
			`<form action="/signout" method="post"><input type="hidden" name="csrf" value="`+caller.CSRF+`"><button id="out">Out</button></form>`))
	}
	engine.GET("/", guard.Require(auth.OrdersRead), page)
	engine.POST("/", guard.Require(auth.OrdersRead), page)
	server := &http.Server{Addr: addr, Handler: engine}
	go func() { _ = server.ListenAndServe() }()
	t.Cleanup(func() { _ = server.Close() })
	require.Eventually(t, func() bool { ready, _ := checks.Status(); return ready }, deadline, tick)

	w := browser.Open(browser.ForTest(t), t, func(browser.Problem) bool { return true })
	w.Visit("http://"+addr+"/?q=1", "#login")
	w.Type("#login", "ann@shop.example")
	w.Type("#password", password)
	w.Leave("#submit-login", "main")
	w.Until("document.querySelector('main').innerText.includes('GET ann@shop.example')|| document.querySelector('main').innerText.includes('(ann@shop.example) orders:read')")
	require.Equal(t, "/?q=1", browser.Eval[string](w, "location.pathname + location.search"))
	require.Empty(t, browser.Eval[string](w, "document.cookie"), "scripts do not see the cookies")
	w.Leave("#change", "main")
	w.Until("document.querySelector('main').innerText.startsWith('POST')")
	w.Leave("#out", "#main")
	w.Until("location.pathname === '/signout' && document.body.innerText.includes('You are signed out.')")
	w.Picture("signed-out")
	// The provider's session has ended as well: it asks for the password again.
	w.Visit("http://"+addr+"/", "#login")

	token := func(who string) string {
		response, err := http.PostForm(issuer+"/token", url.Values{
			"grant_type": {"password"}, "client_id": {client}, "client_secret": {"secret"},
			"username": {who}, "password": {password}, "scope": {"openid email groups"},
		})
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		var answer struct {
			IDToken string `json:"id_token"`
		}
		require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
		return answer.IDToken
	}
	ask := func(token string) int {
		request, err := http.NewRequest(http.MethodGet, "http://"+addr+"/", nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	ann := token("ann@shop.example")
	require.Equal(t, 200, ask(ann))
	require.Equal(t, 403, ask(token("bob@shop.example")))
	require.Equal(t, 401, ask(ann[:len(ann)-4]))
}
