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

const password = "correct horse"

// withProvider starts an identity provider, and returns the settings of a program at addr
// whose people sign in there.
func withProvider(t *testing.T, addr, audit string, people ...dex.Person) (settings []string) {
	t.Helper()
	const client, secret = "orderhub", "the client's secret"
	for i := range people {
		people[i].Password = password
	}
	issuer := dex.StartForTest(t, []dex.Client{{
		ID: client, Secret: secret, RedirectURIs: []string{"http://" + addr + "/signin/callback"}, PostLogoutRedirectURIs: []string{"http://" + addr + "/signout"},
	}}, people)
	return []string{
		"HTTP_ADDR=" + addr, "HTTP_AUTH=on", "OIDC_ISSUER=" + issuer, "OIDC_CLIENT_ID=" + client, "OIDC_CLIENT_SECRET=" + secret,
		"OIDC_SCOPES_CLAIM=groups", "OIDC_SIGNIN_SCOPES=openid,email,groups", "HTTP_SESSION_KEY=0123456789abcdef0123456789abcdef",
		"ORDERHUB_AUDIT_FILE=" + audit,
	}
}

// signIn goes from a program's page to the provider and back, until ready is true.
func signIn(w *browser.Window, addr, email, ready string) {
	w.Visit("http://"+addr+"/", "#login")
	w.Type("#login", email)
	w.Type("#password", password+kb.Enter)
	w.Until(ready)
}

func signOut(w *browser.Window) {
	w.Click("form[action='/signout'] button")
	w.Until("location.pathname === '/signout' && document.body.innerText.includes('You are signed out.')")
}

// People sign in at a real identity provider, and see of a person's order what their
// scopes allow. What is personal is recorded under the name that the provider gave.
func TestPeopleSignInAtThePage(t *testing.T) {
	chromium := browser.ForTest(t)
	p := newPipeline(t)
	p.worker()
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")

	addr, audit := freeAddr(t), filepath.Join(t.TempDir(), "audit.jsonl")
	reader := p.run("read-api", withProvider(t, addr, audit,
		dex.Person{Email: "ann@shop.example", Groups: []string{"orders:read", "orders:personal"}},
		dex.Person{Email: "bob@shop.example", Groups: []string{"orders:read"}},
		dex.Person{Email: "eve@shop.example", Groups: []string{"staff"}}))
	reader.addr = addr
	p.eventually("the reader is ready", func() (bool, string) {
		status, _, body := fetch(t, http.MethodGet, "http://"+reader.admin+"/readyz", nil)
		return status == http.StatusOK, body + reader.log.String()
	})
	status, header, _ := reader.get("/order/b563feb7b2b84b6test")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, header.Get("WWW-Authenticate"), `scope="orders:read"`)

	w := browser.Open(chromium, t, func(browser.Problem) bool { return true })
	signIn := func(email, ready string) { signIn(w, addr, email, ready) }
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
	signOut(w)

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
	signOut(w)

	// Who lacks the scope is signed in, and told so.
	signIn("eve@shop.example", "document.body.innerText.includes('orders:read')")
	require.NotContains(t, reader.log.String(), "shop.example", "the log names nobody")
}

// At the console people see letters if their scopes allow that.
func TestPeopleSignInAtTheConsole(t *testing.T) {
	chromium := browser.ForTest(t)
	p := newPipeline(t)
	p.worker()
	p.orderctl(strings.Replace(sample(t, "model.json"), "b563feb7b2b84b6test", "no such uid!", 1), "publish", "--file", "-", "--no-validate")
	p.eventually("the letter is there", func() (bool, string) {
		stats := p.orderctl("", "dlq", "stats", "--output", "json")
		return strings.Contains(stats, `"open":1`), stats
	})
	addr, audit := freeAddr(t), filepath.Join(t.TempDir(), "audit.jsonl")
	console := p.run("orderctl", withProvider(t, addr, audit,
		dex.Person{Email: "ann@shop.example", Groups: []string{"letters:read", "letters:act"}},
		dex.Person{Email: "bob@shop.example", Groups: []string{"orders:read"}}), "dlq", "ui")
	console.addr = addr
	p.eventually("the console is ready", func() (bool, string) {
		status, _, body := console.get("/healthz")
		return status == http.StatusOK, body + console.log.String()
	})
	w := browser.Open(chromium, t, func(browser.Problem) bool { return true })
	signIn(w, addr, "bob@shop.example", "document.body.innerText.includes('letters:read')")
	signOut(w)
	signIn(w, addr, "ann@shop.example", "document.querySelector('main')?.innerText.includes('1')")
	w.Visit("http://"+addr+"/letters", "main")
	require.Contains(t, w.Text("main"), "order_uid must be 1 to 64 characters")
	signOut(w)
}
