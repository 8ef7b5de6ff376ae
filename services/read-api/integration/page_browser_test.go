package integration_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	chromepage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp/kb"
	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/scripts/devstack/browser"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// window is a browser window in Tokyo, on a page server of its own.
type window struct {
	*browser.Window
	t      *testing.T
	orders *shownOrders
	server *httptest.Server
	away   atomic.Bool // the server breaks every connection
}

func openWindow(chromium context.Context, t *testing.T) *window {
	t.Helper()
	w := &window{t: t, orders: newShownOrders()}
	gin.SetMode(gin.TestMode)
	engine := gin.New()
	engine.Use(func(*gin.Context) {
		if w.away.Load() {
			panic(http.ErrAbortHandler)
		}
	})
	page.New(page.Options{Orders: w.orders, ConsoleURL: "http://127.0.0.1:8082"}).Register(engine)
	w.orders.register(engine)
	w.server = httptest.NewServer(engine)
	t.Cleanup(w.server.Close)
	// Some failed requests are no errors of the page: a shown page may have a status of 400 or
	// more, an export may break off, and suggestions may be asked for while the database is away.
	// On a busy machine, keys come slowly enough for that.
	w.Window = browser.Open(chromium, t, func(p browser.Problem) bool {
		shown := strings.Contains(p.URL, "/?") && !strings.Contains(p.URL, "fragment=1")
		return p.Source == "network" && (shown || strings.Contains(p.URL, "/api/v1/suggest?") || strings.Contains(p.URL, "/api/v1/export?"))
	})
	browser.Command(w.Window, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"})
	return w
}

// withoutLooks keeps the page from looking every few seconds, so that what it
// sees it was told.
func (w *window) withoutLooks() {
	w.t.Helper()
	browser.Command(w.Window, chromepage.AddScriptToEvaluateOnNewDocument, chromepage.AddScriptToEvaluateOnNewDocumentParams{
		Source: "{ const real = setTimeout; window.setTimeout = (act, wait, ...what) => wait > 3000 ? 0 : real(act, wait, ...what); }",
	})
}

func (w *window) open(address string) {
	w.t.Helper()
	w.Visit(w.server.URL+address, "#newest")
}

func (w *window) eval(expression string) string {
	w.t.Helper()
	return browser.Eval[string](w.Window, expression)
}

func (w *window) is(expression string) bool {
	w.t.Helper()
	return browser.Eval[bool](w.Window, expression)
}

// search types into the field and presses Enter.
func (w *window) search(text string) {
	w.t.Helper()
	w.Type("#q", text+kb.Enter)
}

// shows waits for a state of the page.
func (w *window) shows(state string) {
	w.t.Helper()
	w.Until("document.querySelector('#result').dataset.state === '" + state + "' && !document.querySelector('main').hasAttribute('aria-busy')")
}

// look is what happens when a person comes back to the window: the page asks
// at once rather than at its next turn.
func (w *window) look() {
	w.t.Helper()
	w.Script("document.dispatchEvent(new Event('visibilitychange')); undefined")
}

// hide is what happens when another window is before this one.
func (w *window) hide(hidden bool) {
	w.t.Helper()
	value := "false"
	if hidden {
		value = "true"
	}
	w.Script("Object.defineProperty(document, 'hidden', { value: " + value + ", configurable: true }); undefined")
	w.look()
}
