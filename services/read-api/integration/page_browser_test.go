package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	chromium "github.com/orderhub/orderhub/libs/devstack/browser"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// browser is a headless Chromium with an empty profile, which each test opens
// windows in that share nothing.
type browser struct{ ctx context.Context }

func startBrowser(t *testing.T) *browser {
	t.Helper()
	return &browser{ctx: chromium.ForTest(t)}
}

// window is a browser window of its own, without history, cookies and cache of
// others, on a page server of its own.
type window struct {
	t      *testing.T
	ctx    context.Context
	orders *shownOrders
	server *httptest.Server
	away   atomic.Bool // the server breaks every connection

	mu       sync.Mutex
	problems []string // what the browser's console reported
}

// window opens one. At the end of the test its console must be empty of
// errors; the report that a document has a status of 400 or more is none.
func (b *browser) window(t *testing.T) *window {
	t.Helper()
	w := &window{t: t, orders: newShownOrders()}
	gin.SetMode(gin.TestMode)
	engine := gin.New()
	engine.Use(func(*gin.Context) {
		if w.away.Load() {
			panic(http.ErrAbortHandler)
		}
	})
	page.Register(engine, page.Options{Orders: w.orders, ConsoleURL: "http://127.0.0.1:8082"})
	w.server = httptest.NewServer(engine)
	t.Cleanup(w.server.Close)

	ctx, closeWindow := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(w.listen))
	w.ctx = ctx
	t.Cleanup(func() {
		closeWindow()
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Empty(t, w.problems, "the browser's console")
	})
	require.NoError(t, chromedp.Do(ctx), "open a window") // no time limit: it would be the window's
	command(w, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"})
	w.do(chromedp.EmulateViewport(1280, 900))
	return w
}

func (w *window) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = fmt.Sprintf("exception: %+v", e.ExceptionDetails)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			problem = fmt.Sprintf("console.%s: %v", e.Type, e.Args)
		}
	case *log.EventEntryAdded:
		document := e.Entry.Source == "network" && strings.Contains(e.Entry.URL, "/?uid=") && !strings.Contains(e.Entry.URL, "fragment=1")
		if e.Entry.Level == "error" && !document {
			problem = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if problem != "" {
		w.mu.Lock()
		w.problems = append(w.problems, problem)
		w.mu.Unlock()
	}
}

// forgetProblems is for tests that cause errors, such as a server that is away.
func (w *window) forgetProblems() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = nil
}

// stepTime is how long one step in the browser may take.
const stepTime = 30 * time.Second

func (w *window) do(steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepTime)
	defer cancel()
	require.NoError(w.t, chromedp.Do(ctx, steps...))
}

func command[P, R any](w *window, method cdp.Command[P, R], params P) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepTime)
	defer cancel()
	_, err := chromedp.Call(ctx, method, params)
	require.NoError(w.t, err)
}

func value[T any](w *window, action chromedp.Action[T]) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepTime)
	defer cancel()
	got, err := chromedp.Run(ctx, action)
	require.NoError(w.t, err)
	return got
}

// open goes to an address of the page, an error status of which is no error.
func (w *window) open(address string) {
	w.t.Helper()
	w.do(chromedp.Navigate(w.server.URL+address), chromedp.WaitReady(chromedp.CSS("#newest")))
}

func (w *window) click(selector chromedp.CSS) {
	w.t.Helper()
	w.do(chromedp.Click(selector, chromedp.NodeVisible))
}

func (w *window) press(keys string) {
	w.t.Helper()
	w.do(chromedp.KeyEvent(keys))
}

// eval gives the value of a JavaScript expression.
func eval[T any](w *window, expression string) T {
	w.t.Helper()
	return value(w, chromedp.Evaluate[T](expression))
}

// script runs JavaScript for what it does.
func (w *window) script(source string) {
	w.t.Helper()
	w.do(chromedp.Evaluate[chromedp.Void](source))
}

// until waits for a JavaScript expression to become true.
func (w *window) until(expression string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepTime)
	defer cancel()
	// An error of the expression, on a page that isn't there yet, is false.
	source := "(() => { try { return " + expression + " } catch { return false } })()"
	if _, err := chromedp.Run(ctx, chromedp.Poll[chromedp.Void](source, chromedp.WithPollingInterval(20*time.Millisecond))); err != nil {
		w.t.Fatalf("%s never became true: %v\nthe page: %s", expression, err, w.text("body"))
	}
}

// text is what a person can read of an element.
func (w *window) text(selector string) string {
	w.t.Helper()
	return eval[string](w, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// picture takes a picture of the whole page. `go test -artifacts` keeps it.
func (w *window) picture(name string) {
	w.t.Helper()
	image := value(w, chromedp.FullScreenshot(100))
	require.NoError(w.t, os.WriteFile(filepath.Join(w.t.ArtifactDir(), name+".png"), image, 0o600))
}
