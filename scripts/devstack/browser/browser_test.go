package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

// What these helpers look for, they find.
func TestFaultsOfAPageAreFound(t *testing.T) {
	chromium := ForTest(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, `<!DOCTYPE html><html lang="en"><title>Faults</title><link rel="icon" href="data:,">
			<style>#plain:focus { outline: none }</style>
			<p id="pale" style="color: #aaa">pale</p><p id="wide" style="width: 3000px">wide</p>
			<button id="plain">no focus style</button><button id="good">good</button><a id="never" href="/" style="display: block" inert>never reached</a>`)
	}))
	t.Cleanup(server.Close)
	w := Open(chromium, t, nil)
	w.Visit(server.URL, "#pale")
	require.Contains(t, w.LowContrast(), "pale")
	require.NotContains(t, w.LowContrast(), "wide")
	require.Contains(t, w.Beyond(), "wide")
	require.NotContains(t, w.Beyond(), "pale</p>")
	unreached := w.Unreached(10)
	require.Contains(t, unreached, `no focus is seen: <button id="plain">`)
	require.Contains(t, unreached, "never reached")
	require.NotContains(t, unreached, "good")

	w.Script("console.error('said'); setTimeout(() => { throw new Error('thrown') }); undefined")
	w.Script("fetch('/nowhere'); undefined")
	require.Eventually(t, func() bool { return len(w.Problems()) == 2 }, StepTime, StepTime/1000)
	w.ForgetProblems()
	require.Empty(t, w.Problems())
}

func TestAnotherAxeIsRefused(t *testing.T) {
	t.Parallel()
	require.False(t, axeIs([]byte("/*! axe v4.14.1 */")))
	var source string
	if err := must.Cause(func() { source = axeSource() }); err != nil {
		t.Skipf("no axe-core: %v", err)
	}
	require.True(t, axeIs([]byte(source)))
}
