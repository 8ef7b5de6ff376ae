package page

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/web"
)

var anchors = regexp.MustCompile(`href="#([^"]+)"`)

func TestTheDescriptionIsShown(t *testing.T) {
	openapi, err := os.ReadFile("../httpapi/openapi.yaml")
	require.NoError(t, err)
	engine := web.NewEngine(web.EngineOptions{})
	web.Get(engine, "/docs", New(Options{Orders: &fakeOrders{}}).Docs(openapi))
	ask := func(target string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, r)
		return w
	}
	w := ask("/docs")
	require.Equal(t, 200, w.Code)
	require.Equal(t, web.Policy, w.Header().Get("Content-Security-Policy"))
	require.Equal(t, 304, ask("/docs", "If-None-Match", w.Header().Get("ETag")).Code)
	page := w.Body.String()
	for _, part := range []string{
		"<code>/api/v1/orders/{order_uid}</code>", "Orders, newest first", `href="/openapi.yaml"`,
		`<a href="#getStats"><code>/api/v1/stats</code></a>`, `<section id="getStats"`, // the index leads to the operation
		"<code>created_from</code> <span class=\"quiet\">query</span>", "<code>order_uid</code> <span class=\"quiet\">path, required</span>",
		"From 1. 20 where it is not given.",                                                                                      // parameters, those of $ref too
		`<code>200</code> <a href="#Order">`, `<span id="Order">`, `<code>503</code> <a href="#Problem">`, `<span id="Problem">`, // answers and their schemas
	} {
		require.Contains(t, page, part)
	}
	shown, _, found := strings.Cut(page, "<pre")
	require.True(t, found)
	require.NotContains(t, shown, "`", "code is shown as code")
	for _, anchor := range anchors.FindAllStringSubmatch(shown, -1) {
		require.Contains(t, page, `id="`+anchor[1]+`"`, "a link that leads nowhere")
	}
	for _, foreign := range []string{"http://", "https://", "@import", "ZgotmplZ", " style="} {
		require.NotContains(t, page, foreign)
	}
}
