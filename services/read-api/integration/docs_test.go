package integration_test

import (
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/scripts/devstack/browser"
	"github.com/orderhub/orderhub/services/read-api/internal/httpapi"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

// TestDocsInABrowser looks at the page that shows the API's description.
func TestDocsInABrowser(t *testing.T) {
	chromium := browser.ForTest(t)
	p := page.New(page.Options{})
	server := httptest.NewServer(httpapi.New(httpapi.Options{
		Metrics: prometheus.NewRegistry(), Log: zap.NewNop(),
		Pages: p.Register, Docs: p.Docs(httpapi.OpenAPI),
	}))
	t.Cleanup(server.Close)
	w := browser.Open(chromium, t, func(p browser.Problem) bool { return p.URL == server.URL+"/favicon.ico" })
	address := server.URL + "/docs"
	for _, scheme := range []string{"light", "dark"} {
		w.Scheme(scheme)
		w.Visit(address, "section")
		require.Empty(t, w.LowContrast(), "%s: texts of too little contrast", scheme)
		w.Picture("docs-" + scheme)
	}
	w.Click("nav a[href='#listOrders']")
	w.Until("location.hash === '#listOrders' && document.querySelector(':target h2').innerText.includes('/api/v1/orders')")
	w.Click("#listOrders a[href='#Problem']")
	w.Until("document.querySelector(':target').innerText.includes('Problem:')")
	require.Empty(t, w.Problems(), "it asks for nothing that its policy forbids")
	w.Phone()
	w.Visit(address, "section")
	require.Equal(t, float64(0), browser.Eval[float64](w, "document.documentElement.scrollWidth - document.documentElement.clientWidth"), "nothing is to be scrolled to sideways")
	w.Do(chromedp.EmulateViewport(1280, 900))

	t.Run("axe", func(t *testing.T) { browser.AxeForTest(t).Check(w, "docs") })
}
