package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/devstack/browser"
)

// A person looks an order up that came through Kafka, asks for one that is not
// there, and sees a new one appear.
func TestThePageOnTheWholePipeline(t *testing.T) {
	chromium := browser.ForTest(t)
	p := newPipeline(t)
	p.worker()
	reader := p.reader()
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")
	p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))

	w := openWindow(chromium, t)
	w.do(chromedp.Navigate("http://"+reader.addr+"/"), chromedp.WaitReady(chromedp.CSS("#newest")))
	w.until("document.querySelector('#newest').innerText.includes('b563feb7b2b84b6test')")
	w.search("b563feb7b2b84b6test")
	w.until("document.querySelector('#result h1')?.innerText === 'b563feb7b2b84b6test'")
	for _, want := range []string{"Test Testov", "Kiryat Mozkin", "18.17 USD", "Mascaras", "Vivienne Sabo", "WBILMTESTTRACK"} {
		require.Contains(t, w.text("#result"), want)
	}
	w.picture("sample-order")
	w.search("never-there")
	w.until("document.querySelector('#result').innerText.includes('never-there')")
	require.Contains(t, strings.ToLower(w.text("#result")), "no order")

	uid := p.publishSynthetic("--seed", "3")[0]
	w.until("document.querySelector('#newest').innerText.includes('" + uid + "')")

	p.exec("UPDATE deliveries SET city = 'Jerusalem' WHERE order_uid = 'b563feb7b2b84b6test'")
	w.search("b563feb7b2b84b6test")
	w.until("document.querySelector('#result').innerText.includes('Jerusalem')")
}

// window is a browser window whose console must stay empty of errors.
type window struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

// stepTime is how long one step in the browser may take.
const stepTime = 30 * time.Second

func openWindow(chromium context.Context, t *testing.T) *window {
	t.Helper()
	w := &window{t: t}
	ctx, closeWindow := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(w.listen))
	w.ctx = ctx
	t.Cleanup(func() {
		closeWindow()
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Empty(t, w.problems, "the browser's console")
	})
	require.NoError(t, chromedp.Do(ctx), "open a window")
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
		if e.Entry.Level == "error" {
			problem = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if problem != "" {
		w.mu.Lock()
		w.problems = append(w.problems, problem)
		w.mu.Unlock()
	}
}

func (w *window) do(steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepTime)
	defer cancel()
	require.NoError(w.t, chromedp.Do(ctx, steps...))
}

// search types into the field and presses Enter.
func (w *window) search(uid string) {
	w.t.Helper()
	w.do(chromedp.Evaluate[chromedp.Void]("document.querySelector('#uid').value = ''"),
		chromedp.SendKeys(chromedp.CSS("#uid"), uid+kb.Enter))
}

// until waits for a JavaScript expression to become true.
func (w *window) until(expression string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepTime)
	defer cancel()
	source := "(() => { try { return " + expression + " } catch { return false } })()"
	if _, err := chromedp.Run(ctx, chromedp.Poll[chromedp.Void](source, chromedp.WithPollingInterval(20*time.Millisecond))); err != nil {
		w.t.Fatalf("%s never became true: %v\nthe page: %s", expression, err, w.text("body"))
	}
}

// text is what a person can read of an element.
func (w *window) text(selector string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepTime)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector)))
	require.NoError(w.t, err)
	return text
}

// picture takes a picture of the whole page. `go test -artifacts` keeps it.
func (w *window) picture(name string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepTime)
	defer cancel()
	image, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(filepath.Join(w.t.ArtifactDir(), name+".png"), image, 0o600))
}
