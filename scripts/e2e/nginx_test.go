package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/browser"
	"github.com/orderhub/orderhub/scripts/devstack/nginx"
)

const consoleToken = "token-of-the-console"

// TestBehindNginx uses page and console below paths of one site: nginx removes the
// page's path from requests and names it in a header; of the console it leaves it.
func TestBehindNginx(t *testing.T) {
	chromium := browser.ForTest(t)
	p := newPipeline(t)
	p.env = append(p.env, "TRUSTED_PROXIES=127.0.0.1", "HTTP_AUTH=off")
	p.worker()
	reader := p.reader()
	console := p.console("BASE_PATH=/dlq", "HTTP_AUTH=off", "ORDERHUB_CONSOLE_TOKEN="+consoleToken)
	site := "http://" + nginx.ForTest(t, fmt.Sprintf(`
    location /orders/ {
      proxy_pass http://%s/;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Prefix /orders;
    }
    location /dlq/ {
      proxy_pass http://%s;
      proxy_set_header Host $http_host;
    }
    location / { return 404 "outside"; }`, reader.addr, console.addr))
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")
	p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))
	p.orderctl(strings.Replace(record, "Test Testov", "Somebody Else", 1), "publish", "--file", "-")

	t.Run("page", func(t *testing.T) {
		w := browser.Open(chromium, t, func(p browser.Problem) bool {
			return p.Source == "network" && (strings.HasSuffix(p.URL, "/favicon.ico") || strings.Contains(p.URL, "/?") && !strings.Contains(p.URL, "fragment=1"))
		})
		w.Visit(site+"/orders/", "#newest")
		w.Until("document.styleSheets.length === 2")
		w.Picture("page")
		w.Type("#q", "b563feb7b2b84b6tes")
		w.Until("document.querySelector('#suggestions').innerText.includes('b563feb7b2b84b6test')")
		w.Press(kb.ArrowDown)
		w.Key("Enter")
		w.Until("document.querySelector('#result h1')?.innerText === 'b563feb7b2b84b6test' && location.pathname === '/orders/'")
		w.Type("#q", "WBILMTESTTRACK"+kb.Enter)
		w.Until("document.querySelector('#result h1')?.innerText === 'b563feb7b2b84b6test' && location.search === '?uid=b563feb7b2b84b6test'")
		w.Picture("order")

		// What is new arrives by the stream.
		uids := p.publishSynthetic("--seed", "3")
		w.Until("document.querySelector('#newest').innerText.includes('" + uids[0] + "')")
		w.Click(`.nav a[aria-current], .nav a`)
		w.Until("document.querySelector('#result h1')?.innerText === 'Newest orders' && location.pathname + location.search === '/orders/'")
		require.Empty(t, strays(w, site, "/orders/"))

		// Without its script, an order and its bytes.
		w.Visit(site+"/orders/?uid=b563feb7b2b84b6test", "#result h1")
		require.Empty(t, strays(w, site, "/orders/"))
		w.Visit(browser.Eval[string](w, "[...document.querySelectorAll('.tools a')].find((a) => a.innerText === 'Raw').href"), "body")
		require.Equal(t, canonical(t, record), w.Text("body"))
		w.Visit(site+"/orders/docs", "#main")
		require.Empty(t, strays(w, site, "/orders/"))
	})

	t.Run("API", func(t *testing.T) {
		get := func(path string) string {
			_, _, body := fetch(t, http.MethodGet, site+path, nil)
			return body
		}
		require.Contains(t, get("/orders/openapi.yaml"), "  - url: /orders\n")
		require.Contains(t, get("/orders/order/nobody"), `"type":"/orders/problems/order-not-found"`)
		require.Contains(t, get("/orders/problems/order-not-found"), "No such order")
	})

	t.Run("console", func(t *testing.T) {
		w := browser.Open(chromium, t, nil)
		w.Visit(site+"/dlq/", "#token")
		require.Contains(t, browser.Eval[string](w, "location.href"), "/dlq/login?to=%2F", "a proxy is before it: it shows nothing yet")
		w.Type("#actor", "Anna")
		w.Type("#token", consoleToken)
		leave := func(click, ready string) {
			t.Helper()
			w.Leave(chromedp.CSS(click), chromedp.CSS(ready))
			require.Empty(t, strays(w, site, "/dlq/"))
			require.True(t, strings.HasPrefix(browser.Eval[string](w, "location.pathname"), "/dlq/"))
		}
		leave("form .primary", `form[action="/dlq/logout"]`)
		require.Equal(t, "/dlq/", browser.Eval[string](w, "location.pathname"))
		w.Picture("console")
		w.Until("document.body.innerText.includes('conflict')")
		leave(`.nav a[href="/dlq/letters"]`, "[data-row] a")
		leave("[data-row] a", `a[href^="/dlq/confirm?kind=redrive"]`)
		leave(`a[href^="/dlq/confirm?kind=redrive"]`, "#why")
		leave("form.confirm .primary", "[data-part]")
		w.Until("document.body.innerText.includes('redriven by Anna')")
		w.Picture("redriven")
		leave(`form[action="/dlq/logout"] button`, "#token")
	})
}

// strays are the addresses of a page that lead out of its path.
func strays(w *browser.Window, site, path string) []string {
	return browser.Eval[[]string](w, fmt.Sprintf(`[...document.querySelectorAll('a[href], link[href], [src], form[action]')]
		.map((e) => e.tagName === 'FORM' ? new URL(e.getAttribute('action'), location).href : e.href ?? e.src)
		.filter((a) => a.startsWith(%q) && !a.startsWith(%q))`, site, site+path))
}
