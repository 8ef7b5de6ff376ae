package browser

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// StepTime is how long one step in the browser may take.
const StepTime = 30 * time.Second

// Problem is an error that the browser's console showed.
type Problem struct {
	Source string // "exception", "console", or the browser's word, such as "network"
	Text   string
	URL    string // of a "network" problem
}

// Window is a browser window of its own, without history, cookies and cache of
// others. Its methods fail the test where a step doesn't work. They are called
// from the test's goroutine.
type Window struct {
	t       testing.TB
	ctx     context.Context
	ignored func(Problem) bool

	mu       sync.Mutex
	problems []Problem
}

// Open opens a window of 1280 by 900 pixels in a browser of [ForTest]. When the
// test ends, the window is closed, and the test fails if its console has shown
// errors, but for those that ignored (nil: none) says are of no interest.
func Open(chromium context.Context, t testing.TB, ignored func(Problem) bool) *Window {
	t.Helper()
	w := &Window{t: t, ignored: ignored}
	ctx, closeWindow := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(w.listen))
	w.ctx = ctx
	t.Cleanup(func() {
		closeWindow()
		for _, problem := range w.Problems() {
			t.Errorf("the browser's console: %+v", problem)
		}
	})
	if err := chromedp.Do(ctx); err != nil { // no time limit: it would be the window's
		t.Fatalf("open a window: %v", err)
	}
	w.Do(chromedp.EmulateViewport(1280, 900))
	return w
}

func (w *Window) listen(event any) {
	var problem Problem
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = Problem{Source: "exception", Text: fmt.Sprintf("%+v", e.ExceptionDetails)}
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			problem = Problem{Source: "console", Text: fmt.Sprintf("%s: %v", e.Type, e.Args)}
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			problem = Problem{Source: string(e.Entry.Source), Text: e.Entry.Text, URL: e.Entry.URL}
		}
	}
	if problem.Source == "" || (w.ignored != nil && w.ignored(problem)) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, problem)
}

// Problems are the errors that the console has shown.
func (w *Window) Problems() []Problem {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Problem(nil), w.problems...)
}

// ForgetProblems is for tests that cause errors, such as a server that is away.
func (w *Window) ForgetProblems() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = nil
}

// step gives one step in the browser [StepTime].
func step[T any](w *Window, run func(context.Context) (T, error)) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, StepTime)
	defer cancel()
	value, err := run(ctx)
	if err != nil {
		w.t.Fatalf("in the browser: %v", err)
	}
	return value
}

// Do runs steps, which together have [StepTime].
func (w *Window) Do(steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	step(w, func(ctx context.Context) (struct{}, error) { return struct{}{}, chromedp.Do(ctx, steps...) })
}

// Command gives the browser a command of its protocol.
func Command[P, R any](w *Window, method cdp.Command[P, R], params P) R {
	w.t.Helper()
	return step(w, func(ctx context.Context) (R, error) { return chromedp.Call(ctx, method, params) })
}

// Value runs an action and returns its value.
func Value[T any](w *Window, action chromedp.Action[T]) T {
	w.t.Helper()
	return step(w, func(ctx context.Context) (T, error) { return chromedp.Run(ctx, action) })
}

// Eval gives the value of a JavaScript expression; a promise's is waited for.
func Eval[T any](w *Window, expression string) T {
	w.t.Helper()
	return Value(w, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Script runs JavaScript for what it does.
func (w *Window) Script(source string) {
	w.t.Helper()
	w.Do(chromedp.Evaluate[chromedp.Void](source))
}

// Visit goes to an address and waits for an element that its page has. An
// answer with an error status is no error.
func (w *Window) Visit(address string, ready chromedp.CSS) {
	w.t.Helper()
	w.Do(chromedp.Navigate(address), chromedp.WaitReady(ready))
}

// whole waits until the page has all of its elements and styles. What comes later replaces
// or moves what is clicked on or typed into, and the click would miss it.
func (w *Window) whole() {
	w.t.Helper()
	w.Until("document.readyState === 'complete'")
}

// Click clicks on what a person can see, once the page is whole.
func (w *Window) Click(selector chromedp.CSS) {
	w.t.Helper()
	w.whole()
	w.Do(chromedp.Click(selector, chromedp.NodeVisible))
}

// Press presses keys, as package kb of chromedp writes them. What they type is
// typed even where the page takes the keys for itself: see [Window.Key].
func (w *Window) Press(keys string) {
	w.t.Helper()
	w.Do(chromedp.KeyEvent(keys))
}

// Key presses "Enter", or a key named by its character, in one event as a
// keyboard does: where the page takes it for itself, nothing is typed.
func (w *Window) Key(name string) {
	w.t.Helper()
	text, code := name, int64(name[0])
	if name == "Enter" {
		text, code = "\r", '\r'
	}
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
		params := input.DispatchKeyEventParams{Type: kind, Key: name, WindowsVirtualKeyCode: code}
		if kind == input.DispatchKeyEventTypeKeyDown {
			params.Text = text
		}
		Command(w, input.DispatchKeyEvent, params)
	}
}

// Type types into an empty field; what it held is deleted.
func (w *Window) Type(selector chromedp.CSS, keys string) {
	w.t.Helper()
	w.whole()
	w.Script(fmt.Sprintf("document.querySelector(%q).value = ''", string(selector)))
	w.Do(chromedp.SendKeys(selector, keys))
}

// Leave clicks on what leads to another page, and waits until that page has come
// and has the element ready. The page before may have such an element too.
func (w *Window) Leave(selector, ready chromedp.CSS) {
	w.t.Helper()
	w.Script("window.left = true")
	w.Click(selector)
	w.Until(fmt.Sprintf("!window.left && document.querySelector(%q) !== null", string(ready)))
}

// Until waits for a JavaScript expression to become true. The page may be
// replaced by another meanwhile.
func (w *Window) Until(expression string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, StepTime)
	defer cancel()
	// An error of the expression, on a page that isn't there yet, is false.
	source := "(() => { try { return Boolean(" + expression + ") } catch { return false } })()"
	for {
		holds, err := chromedp.Run(ctx, chromedp.Evaluate[bool](source))
		if err == nil && holds {
			return
		}
		// The browser refuses to evaluate on a page that is being replaced.
		if refused := (*cdproto.Error)(nil); err != nil && ctx.Err() == nil && !errors.As(err, &refused) {
			w.t.Fatalf("wait for %s: %v", expression, err)
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s never became true: %v\nthe page: %s", expression, err, w.Text("body"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Text is what a person can read of an element, "" where there is none.
func (w *Window) Text(selector string) string {
	w.t.Helper()
	return Eval[string](w, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// Picture takes a picture of the whole page, where `go test -artifacts` asks for
// what tests leave behind.
func (w *Window) Picture(name string) {
	w.t.Helper()
	if wanted := flag.Lookup("test.artifacts"); wanted == nil || wanted.Value.String() != "true" {
		return
	}
	image := Value(w, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(w.t.ArtifactDir(), name+".png"), image, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// Phone makes the window a phone's: 360 by 740 pixels.
func (w *Window) Phone() {
	w.t.Helper()
	w.Do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile, chromedp.EmulateScale(2)))
}

// Scheme sets what the person prefers: "light" or "dark". Movement is off then,
// so that what is looked at stands still.
func (w *Window) Scheme(name string) {
	w.t.Helper()
	Command(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// LowContrast lists the texts whose contrast with what is behind them axe-core finds
// too low (WCAG 1.4.3), a line each or more; "" if all can be read. Without axe-core,
// see [AxeForTest].
func (w *Window) LowContrast() string {
	w.t.Helper()
	return strings.Join(AxeForTest(w.t).violations(w, "{ runOnly: ['color-contrast'] }"), "\n")
}

// Beyond lists what reaches beyond the window's right edge, a line each; "" if
// nothing has to be scrolled to sideways. What a box cuts off, or scrolls by
// itself, doesn't count.
func (w *Window) Beyond() string {
	w.t.Helper()
	return Eval[string](w, `(() => {
		const width = document.documentElement.clientWidth;
		const reach = (e) => {
			let right = e.getBoundingClientRect().right;
			for (let box = e.parentElement; box; box = box.parentElement) {
				if (getComputedStyle(box).overflowX !== 'visible') right = Math.min(right, box.getBoundingClientRect().right);
			}
			return right;
		};
		const wide = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('.unseen, thead') && reach(e) > width + 1);
		const all = wide.map((e) => e.outerHTML.slice(0, 200));
		if (document.documentElement.scrollWidth > width) all.unshift('the page is ' + document.documentElement.scrollWidth + ' pixels wide');
		return all.join('\n');
	})()`)
}

// Unreached presses Tab up to presses times and lists what can be operated but
// wasn't reached, or doesn't show that it has the focus, a line each.
func (w *Window) Unreached(presses int) string {
	w.t.Helper()
	w.Script("document.activeElement.blur(); window.reached = new Set(); window.unseenFocus = []; undefined")
	for range presses {
		w.Press("\t")
		if Eval[bool](w, `(() => {
			const at = document.activeElement;
			if (at === document.body) return false; // the browser's own turn
			if (reached.size > 1 && at === [...reached][0]) return true; // once round
			if (getComputedStyle(at).outlineStyle === 'none') unseenFocus.push('no focus is seen: ' + at.outerHTML.slice(0, 200));
			reached.add(at);
			return false;
		})()`) {
			break
		}
	}
	return Eval[string](w, fmt.Sprintf(`[...unseenFocus, ...[...document.querySelectorAll(%q)]
		.filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0 && !reached.has(e)).map((e) => e.outerHTML.slice(0, 200))].join('\n')`,
		"a[href], button, input, select, textarea, summary"))
}
