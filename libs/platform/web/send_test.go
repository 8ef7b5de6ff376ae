package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
)

func TestAcceptEncodingIsHeeded(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "zstd": "zstd", "gzip, deflate, br, zstd": "zstd", "br, deflate": "",
		"gzip;q=1.0, zstd;q=0.5": "gzip", "GZIP ; Q=0.3": "gzip", "x-gzip": "gzip", "*": "zstd", "*;q=0": "", "zstd;q=0, *": "gzip",
		"gzip;q=0": "", "gzip;q=0.000": "", "gzip;q=0.5, identity": "", "gzip, identity;q=0.5": "gzip", "gzip;q=x": "", "gzip;q=2": "", "gzip;q=-1": "",
		"gzip;q=NaN": "", "identity;q=0, gzip": "gzip", " , ,zstd": "zstd", ";q=1": "", "gzip;level=9": "gzip",
	} {
		got := ""
		if k := Accepted(http.Header{"Accept-Encoding": {header}}); k != nil {
			got = k.Name
		}
		require.Equal(t, want, got, "%q", header)
	}
	require.Nil(t, Accepted(http.Header{}))
	require.Equal(t, "gzip", Accepted(http.Header{"Accept-Encoding": {"br", "gzip"}}).Name, "on two lines")
}

// TestEncodedAnswersHaveTagsOfTheirOwn has a strong tag and a weak one, and bodies
// that are worth encoding or not.
func TestEncodedAnswersHaveTagsOfTheirOwn(t *testing.T) {
	body := strings.Repeat("line\n", 1000)
	engine := NewEngine(EngineOptions{})
	Get(engine, "/strong", func(c *gin.Context) { Send(c, 200, "text/plain", `"strong"`, []byte(body)) })
	Get(engine, "/weak", func(c *gin.Context) { Send(c, 200, "text/plain", `W/"weak"`, []byte(body)) })
	Get(engine, "/small", func(c *gin.Context) { Send(c, 200, "text/plain", `"small"`, []byte("x")) })
	Get(engine, "/created", func(c *gin.Context) { Send(c, 201, "text/plain", "", []byte(body)) })
	get := func(target, coding, held string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("Accept-Encoding", coding)
		r.Header.Set("If-None-Match", held)
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, r)
		require.Equal(t, "Accept-Encoding", w.Header().Get("Vary"))
		return w
	}
	plain := func(r *httptest.ResponseRecorder) string {
		from, err := gzip.NewReader(r.Body)
		require.NoError(t, err)
		text, err := io.ReadAll(from)
		require.NoError(t, err)
		return string(text)
	}
	for _, one := range []struct{ target, held, tag string }{
		{"/strong", "", `"strong-gzip"`}, {"/weak", "", `W/"weak"`}, {"/created", "*", ""}, {"/strong", `"strong-zstd"`, `"strong-gzip"`},
	} {
		r := get(one.target, "gzip", one.held)
		require.Equal(t, "gzip", r.Header().Get("Content-Encoding"), one)
		require.Equal(t, one.tag, r.Header().Get("ETag"), one)
		require.Equal(t, body, plain(r))
	}
	for _, one := range []struct{ target, held, tag string }{
		{"/strong", `"strong-gzip"`, `"strong-gzip"`}, {"/strong", `"strong"`, `"strong"`}, {"/weak", `W/"weak"`, `W/"weak"`},
		{"/weak", `"weak"`, `W/"weak"`}, {"/small", `"small"`, `"small"`},
	} {
		r := get(one.target, "gzip", one.held)
		require.Equal(t, 304, r.Code, one)
		require.Equal(t, one.tag, r.Header().Get("ETag"), "the one that the client has")
	}
	small := get("/small", "gzip", "")
	require.Empty(t, small.Header().Get("Content-Encoding"))
	require.Equal(t, `"small"`, small.Header().Get("ETag"))
}
