// Package browser runs a headless Chromium for tests of pages: [ForTest] starts
// it, [Open] opens a window whose console must stay empty of errors, and a
// [Window] does and sees what people do. [AxeForTest] gives axe-core.
package browser

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// ForTest starts a Chromium with an empty profile and returns the context to
// [Open] windows in. It ends with the test. Without a Chromium, see
// [process.SkipForTest].
func ForTest(t testing.TB) context.Context {
	t.Helper()
	program := process.NeedForTest(t, "chromium", "chromium-browser", "google-chrome", "chrome")
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(program),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless,
		chromedp.NoSandbox,
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("hide-scrollbars", true),
	)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		closeBrowser() // waits for the browser's end, so that its profile can be removed
		stop()
	})
	require.NoError(t, chromedp.Do(ctx))
	return ctx
}

// The axe-core that pages are checked with. npm fetches it; its bytes are pinned.
const (
	axeVersion = "4.14.1"
	axeSum     = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c" // SHA-256 of axe.min.js
	axeFetch   = time.Minute
)

// Axe is axe-core, which finds what keeps people from using a page.
type Axe struct{ source string }

// AxeForTest returns axe-core from the user's cache folder, where npm puts it at
// first. Its license is the MPL, so it is not in this repository. Where npm is
// missing or fails, see [process.SkipForTest].
func AxeForTest(t testing.TB) *Axe {
	t.Helper()
	axe := &Axe{}
	if err := must.Cause(func() { axe.source = axeSource() }); err != nil {
		process.SkipForTest(t, fmt.Sprintf("no axe-core: %v", err))
	}
	return axe
}

// Check fails the test for each thing that axe-core finds on the page as it is
// now. where names the page's state in the message.
func (a *Axe) Check(w *Window, where string) {
	w.t.Helper()
	for _, violation := range a.violations(w, "{}") {
		w.t.Errorf("axe-core on %s: %s", where, violation)
	}
}

func (a *Axe) violations(w *Window, options string) []string {
	w.t.Helper()
	// Without the return value: what the source gives can't be passed on.
	w.Do(chromedp.Evaluate[chromedp.Void](a.source + "\n;undefined"))
	return Eval[[]string](w, `axe.run(document, { resultTypes: ['violations'], ...`+options+` }).then((result) => result.violations.flatMap((violation) =>
		violation.nodes.map((node) => violation.id + ' (' + violation.impact + '): ' + violation.help + '\n\t' + node.html + '\n\t' + node.failureSummary)))`)
}

// axeSource has npm install axe-core into the cache, unless it is there.
func axeSource() string {
	folder := filepath.Join(must.Get(os.UserCacheDir()), "orderhub", "axe-core-"+axeVersion)
	file := filepath.Join(folder, "node_modules", "axe-core", "axe.min.js")
	if kept, err := os.ReadFile(file); err == nil && axeIs(kept) {
		return string(kept)
	}
	must.Succeed(os.MkdirAll(folder, 0o700))
	ctx, cancel := context.WithTimeout(context.Background(), axeFetch)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", folder, "axe-core@"+axeVersion)
	if output, err := install.CombinedOutput(); err != nil {
		must.Succeed(fmt.Errorf("npm install axe-core@%s: %w\n%s", axeVersion, err, output))
	}
	source := must.Get(os.ReadFile(file))
	if !axeIs(source) {
		must.Succeed(fmt.Errorf("axe-core %s has changed: its SHA-256 differs", axeVersion))
	}
	return string(source)
}

func axeIs(source []byte) bool {
	sum := sha256.Sum256(source)
	return hex.EncodeToString(sum[:]) == axeSum
}
