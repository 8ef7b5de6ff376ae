// Package browser runs a headless Chromium for tests of pages: [ForTest] starts
// it, [Open] opens a window whose console must stay empty of errors, and a
// [Window] does and sees what people do. [AxeForTest] gives axe-core.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"
)

// ForTest starts a Chromium with an empty profile and returns the context to
// [Open] windows in. It ends with the test.
//
// Where there is no Chromium the test is skipped with a loud line, or fails
// where ORDERHUB_TEST_STRICT=1 says that there must be one.
func ForTest(t testing.TB) context.Context {
	t.Helper()
	program := find()
	if program == "" {
		const missing = "NO CHROMIUM on PATH: pages are not tested in a browser"
		if os.Getenv("ORDERHUB_TEST_STRICT") == "1" {
			t.Fatal(missing)
		}
		_, _ = fmt.Fprintln(os.Stderr, missing)
		t.Skip(missing)
	}
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
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	return ctx
}

func find() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
