package browser

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// The axe-core that pages are held against. It is fetched by npm, from where
// npm is set up to, and is nothing else than these bytes.
const (
	axeVersion = "4.14.1"
	axeSum     = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c" // SHA-256 of axe.min.js
	axeFile    = "package/axe.min.js"
	axeLimit   = 4 << 20
	axeFetch   = time.Minute
)

// Axe is axe-core, which finds what keeps people from using a page.
type Axe struct{ source string }

// AxeForTest gives axe-core: from the user's cache folder, or fetched once with
// npm. It is licensed under the MPL, for tests only, and so no part of this
// repository. Without npm, or where npm gets nothing, the test is skipped with
// a loud line, or fails where ORDERHUB_TEST_STRICT=1.
func AxeForTest(t testing.TB) *Axe {
	t.Helper()
	source, err := axeSource()
	if err != nil {
		missing := fmt.Sprintf("NO AXE-CORE: pages are not held against it: %v", err)
		if os.Getenv("ORDERHUB_TEST_STRICT") == "1" {
			t.Fatal(missing)
		}
		_, _ = fmt.Fprintln(os.Stderr, missing)
		t.Skip(missing)
	}
	return &Axe{source: source}
}

// Check fails the test for each thing that axe-core finds on the page as it is
// now. where names the page's state in the message.
func (a *Axe) Check(w *Window, where string) {
	w.t.Helper()
	// Without the return value: what the source gives can't be passed on.
	w.Do(chromedp.Evaluate[chromedp.Void](a.source + "\n;undefined"))
	found := Eval[[]string](w, `axe.run(document, { resultTypes: ['violations'] }).then((result) => result.violations.flatMap((violation) =>
		violation.nodes.map((node) => violation.id + ' (' + violation.impact + '): ' + violation.help + '\n\t' + node.html + '\n\t' + node.failureSummary)))`)
	for _, violation := range found {
		w.t.Errorf("axe-core on %s: %s", where, violation)
	}
}

func axeSource() (string, error) {
	place := ""
	if folder, err := os.UserCacheDir(); err == nil {
		place = filepath.Join(folder, "orderhub", "axe-core-"+axeVersion+".js")
		if kept, err := os.ReadFile(place); err == nil && axeIs(kept) {
			return string(kept), nil
		}
	}
	source, err := fetchAxe()
	if err != nil {
		return "", err
	}
	if place != "" { // else, or where it can't be written, the next test fetches it again
		if os.MkdirAll(filepath.Dir(place), 0o700) == nil {
			_ = os.WriteFile(place, source, 0o600)
		}
	}
	return string(source), nil
}

func axeIs(source []byte) bool {
	sum := sha256.Sum256(source)
	return hex.EncodeToString(sum[:]) == axeSum
}

func fetchAxe() ([]byte, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return nil, errors.New("npm, which would fetch it, is not on PATH")
	}
	folder, err := os.MkdirTemp("", "orderhub-axe-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	ctx, cancel := context.WithTimeout(context.Background(), axeFetch)
	defer cancel()
	command := exec.CommandContext(ctx, npm, "pack", "--silent", "axe-core@"+axeVersion)
	command.Dir = folder
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("npm pack axe-core@%s: %w", axeVersion, err)
	}
	archive, err := os.ReadFile(filepath.Join(folder, "axe-core-"+axeVersion+".tgz"))
	if err != nil {
		return nil, err
	}
	return unpackAxe(archive)
}

func unpackAxe(archive []byte) ([]byte, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("axe-core's archive: %w", err)
	}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if err != nil {
			return nil, fmt.Errorf("axe-core's archive has no %s: %w", axeFile, err)
		}
		if header.Name != axeFile {
			continue
		}
		source, err := io.ReadAll(io.LimitReader(files, axeLimit))
		if err != nil {
			return nil, fmt.Errorf("axe-core's archive: %w", err)
		}
		if !axeIs(source) {
			return nil, fmt.Errorf("axe-core %s isn't what it was: its SHA-256 differs", axeVersion)
		}
		return source, nil
	}
}
