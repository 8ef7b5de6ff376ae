package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/browser"
	"github.com/orderhub/orderhub/scripts/devstack/dex"
)

// People sign in at a real identity provider, and see of a person's order what their
// scopes allow. What is personal is recorded under the name that the provider gave.
func TestPeopleSignInAtThePage(t *testing.T) {
	chromium := browser.ForTest(t)
	p := newPipeline(t)
	p.worker()
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")

	const client, secret, password = "orderhub", "the client's secret", "correct horse"
	addr, audit := freeAddr(t), filepath.Join(t.TempDir(), "audit.jsonl")
	issuer := dex.StartForTest(t, []dex.Client{{
		ID: client, Secret: secret, RedirectURIs: []string{"http://" + addr + "/signin/callback"}, PostLogoutRedirectURIs: []string{"http://" + addr + "/signout"},
	}}, []dex.Person{
		{Email: "ann@shop.example", Password: password, Groups: []string{"orders:read", "orders:personal"}},
		{Email: "bob@shop.example", Password: password, Groups: []string{"orders:read"}},
		{Email: "eve@shop.example", Password: password, Groups: []string{"staff"}},
	})
	reader := p.run("read-api", []string{
		"HTTP_ADDR=" + addr, "HTTP_AUTH=on", "OIDC_ISSUER=" + issuer, "OIDC_CLIENT_ID=" + client, "OIDC_CLIENT_SECRET=" + secret,
		"OIDC_SCOPES_CLAIM=groups", "OIDC_SIGNIN_SCOPES=openid,email,groups", "HTTP_SESSION_KEY=0123456789abcdef0123456789abcdef",
		"ORDERHUB_AUDIT_FILE=" + audit,
	})
	reader.addr = addr
	p.eventually("the reader is ready", func() (bool, string) {
		status, _, body := fetch(t, http.MethodGet, "http://"+reader.admin+"/readyz", nil)
		return status == http.StatusOK, body + reader.log.String()
	})
	status, header, _ := reader.get("/order/b563feb7b2b84b6test")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, header.Get("WWW-Authenticate"), `scope="orders:read"`)

	w := browser.Open(chromium, t, func(browser.Problem) bool { return true })
	page := "http://" + addr + "/"
	signIn := func(email, ready string) {
		w.Visit(page, "#login")
		w.Type("#login", email)
		w.Type("#password", password)
		w.Press(kb.Enter)
		w.Until(ready)
	}
	signOut := func() {
		w.Until("document.querySelector('form[action=\"/signout\"] button') !== null")
		w.Click("form[action='/signout'] button")
		w.Until("location.pathname === '/signout' && document.body.innerText.includes('You are signed out.')")
	}
	const newest = "document.querySelector('#newest')?.innerText.includes('b563feb7b2b84b6test')"
	show := func() string {
		w.Type("#q", "b563feb7b2b84b6test"+kb.Enter)
		w.Until("document.querySelector('#result h1')?.innerText === 'b563feb7b2b84b6test'")
		return w.Text("#result")
	}

	signIn("bob@shop.example", newest)
	masked := show()
	require.NotContains(t, masked, "Test Testov")
	require.NotContains(t, masked, "test@gmail.com")
	require.Contains(t, masked, "18.17 USD")
	signOut()

	signIn("ann@shop.example", newest)
	require.Contains(t, show(), "Test Testov")
	p.eventually("the look is recorded", func() (bool, string) {
		text, err := os.ReadFile(audit)
		require.NoError(t, err)
		return strings.Contains(string(text), "b563feb7b2b84b6test") && strings.Contains(string(text), "ann@shop.example"), string(text)
	})
	text, err := os.ReadFile(audit)
	require.NoError(t, err)
	require.NotContains(t, string(text), "bob@shop.example", "who sees masked orders is not recorded")
	signOut()

	// Who lacks the scope is signed in, and told so.
	signIn("eve@shop.example", "document.body.innerText.includes('orders:read')")
	require.NotContains(t, reader.log.String(), "shop.example", "the log names nobody")
}
