package web

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

// page is a small page on the shared look.
func page(t *testing.T, style string) *Look {
	t.Helper()
	files := fstest.MapFS{
		"a/page.css": {Data: []byte(style)},
		"t/page.html": {Data: []byte(`<head>{{template "look-head" .Title}}<link rel="stylesheet" href="{{asset "page.css"}}"></head>` +
			`<body>{{template "look-live"}}{{template "look-brand" "Test"}}{{template "look-time" when .At}}{{template "look-time" ago .At}}</body>`)},
		"t/wrong.html": {Data: []byte(`{{asset "nosuch.css"}}`)},
	}
	return NewLook(files, "a", files, "t", nil)
}

func render(t *testing.T, l *Look) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, l.Render(&out, "page.html", map[string]any{
		"Title": "<b>", "At": time.Date(2026, 1, 2, 4, 4, 5, 6000, time.FixedZone("", 3600)),
	}))
	return out.String()
}

func TestAPageHasItsFilesAndOurs(t *testing.T) {
	t.Parallel()
	l := page(t, "p{}")
	engine := NewEngine(EngineOptions{})
	l.Register(engine)
	body := render(t, l)
	addresses := regexp.MustCompile(`/assets/[^"]+`).FindAllString(body, -1)
	require.Len(t, addresses, 5, "icon twice, base.css, base.js, page.css")
	for _, address := range addresses {
		w := ask(engine, http.MethodGet, address)
		require.Equal(t, http.StatusOK, w.Code, address)
		require.Contains(t, w.Header().Get("Cache-Control"), "immutable")
		again := httptest.NewRequest(http.MethodGet, address, nil)
		again.Header.Set("If-None-Match", w.Header().Get("ETag"))
		w = httptest.NewRecorder()
		engine.ServeHTTP(w, again)
		require.Equal(t, http.StatusNotModified, w.Code)
	}
	w := ask(engine, http.MethodGet, "/assets/base.css")
	require.Equal(t, http.StatusNotFound, w.Code, "only hashed names are kept for ever")
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))

	require.Contains(t, body, "<title>&lt;b&gt;</title>")
	require.Contains(t, body, `datetime="2026-01-02T03:04:05.000006Z" title="2 Jan 2026, 03:04:05.000006 UTC" data-time="exact">2 Jan 2026, 03:04 UTC<`)
	require.Contains(t, body, `data-time="relative"`)
	require.Contains(t, body, `<a class="skip" href="#main">`)
}

func TestABuildIsKnownByItsFiles(t *testing.T) {
	t.Parallel()
	first, same, other := page(t, "p{}"), page(t, "p{}"), page(t, "q{}")
	require.Equal(t, first.Build(), same.Build())
	require.NotEqual(t, first.Build(), other.Build())
}

func TestAMisspeltFileDoesNotReachARelease(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, page(t, "").Render(&bytes.Buffer{}, "wrong.html", nil), "nosuch.css")
	require.PanicsWithValue(t, "web: two files are named base.css", func() {
		files := fstest.MapFS{"a/base.css": {}, "t/x.html": {}}
		NewLook(files, "a", files, "t", nil)
	})
}

func TestThePolicyForbidsWhatIsInline(t *testing.T) {
	t.Parallel()
	engine := NewEngine(EngineOptions{})
	Get(engine, "/", Secure)
	h := ask(engine, http.MethodGet, "/").Header()
	require.NotContains(t, h.Get("Content-Security-Policy"), "unsafe")
	require.True(t, strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'"))
	require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	require.NotRegexp(t, ` style=|<style|<script>|\son[a-z]+=`, render(t, page(t, "")), "the policy would forbid it")
}
