package httpapi

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

func TestAcceptEncodingIsHeeded(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "zstd": "zstd", "gzip, deflate, br, zstd": "zstd", "br, deflate": "",
		"gzip;q=1.0, zstd;q=0.5": "gzip", "GZIP ; Q=0.3": "gzip", "x-gzip": "gzip", "*": "zstd", "*;q=0": "", "zstd;q=0, *": "gzip",
		"gzip;q=0": "", "gzip;q=0.000": "", "gzip;q=0.5, identity": "", "gzip, identity;q=0.5": "gzip", "gzip;q=x": "", "gzip;q=2": "", "gzip;q=-1": "",
		"gzip;q=NaN": "", "identity;q=0, gzip": "gzip", " , ,zstd": "zstd", ";q=1": "", "gzip;level=9": "gzip",
	} {
		got := ""
		if k := acceptable([]string{header}); k != nil {
			got = k.name
		}
		require.Equal(t, want, got, "%q", header)
	}
	require.Nil(t, acceptable(nil))
	require.Equal(t, "gzip", acceptable([]string{"br", "gzip"}).name, "on two lines")
}

// plainBody undoes an answer's coding.
func plainBody(t *testing.T, r answer) string {
	t.Helper()
	switch r.header.Get("Content-Encoding") {
	case "gzip":
		from, err := gzip.NewReader(strings.NewReader(r.body))
		require.NoError(t, err)
		body, err := io.ReadAll(from)
		require.NoError(t, err)
		return string(body)
	case "zstd":
		from, err := zstd.NewReader(nil)
		require.NoError(t, err)
		defer from.Close()
		body, err := from.DecodeAll([]byte(r.body), nil)
		require.NoError(t, err)
		return string(body)
	}
	return r.body
}

// TestEachCodingHasItsTag asks for a large order and for a document in each
// coding, and then whether they still hold.
func TestEachCodingHasItsTag(t *testing.T) {
	for name, store := range map[string]cache.StoreOptions{"plain": {}, "compressed": {Compress: true}} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, time.Hour, store)
			for _, address := range []string{"/order/large", "/docs"} {
				plain := b.ask(t, "GET", address)
				require.Equal(t, 200, plain.status)
				require.Equal(t, "Accept-Encoding", plain.header.Get("Vary"))
				require.Empty(t, plain.header.Get("Content-Encoding"))
				tags := map[string]string{"": plain.header.Get("ETag")}
				for _, coding := range []string{"gzip", "zstd"} {
					r := b.ask(t, "GET", address, "Accept-Encoding", coding)
					require.Equal(t, 200, r.status)
					require.Equal(t, coding, r.header.Get("Content-Encoding"))
					require.Equal(t, "Accept-Encoding", r.header.Get("Vary"))
					require.Equal(t, plain.header.Get("Content-Type"), r.header.Get("Content-Type"))
					require.Less(t, len(r.body), len(plain.body)/2)
					require.Equal(t, plain.body, plainBody(t, r))
					tags[coding] = r.header.Get("ETag")
					require.Equal(t, strings.TrimSuffix(tags[""], `"`)+"-"+coding+`"`, tags[coding])

					head := b.ask(t, "HEAD", address, "Accept-Encoding", coding)
					require.Equal(t, r.header, head.header)
				}
				for coding, tag := range tags {
					r := b.ask(t, "GET", address, "Accept-Encoding", coding, "If-None-Match", tag)
					require.Equal(t, 304, r.status, "%s %s", address, coding)
					require.Equal(t, tag, r.header.Get("ETag"))
					require.Equal(t, "Accept-Encoding", r.header.Get("Vary"))
					require.Empty(t, r.body)
				}
				require.Equal(t, 200, b.ask(t, "GET", address, "If-None-Match", tags["gzip"]).status, "who takes no gzip needs the plain bytes")
				require.Equal(t, 200, b.ask(t, "GET", address, "Accept-Encoding", "zstd", "If-None-Match", tags["gzip"]).status)
			}
		})
	}
}

// TestWhatIsSmallIsNotCompressed: an ordinary order takes no work of a hit.
func TestWhatIsSmallIsNotCompressed(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	for _, address := range []string{sampleAddress, "/problems/unavailable", "/order/nobody"} {
		r := b.ask(t, "GET", address, "Accept-Encoding", "gzip, zstd")
		require.Empty(t, r.header.Get("Content-Encoding"), address)
		require.NotContains(t, r.header.Get("ETag"), "zstd")
	}
	require.Empty(t, b.ask(t, "GET", sampleAddress, "Accept-Encoding", "gzip").header.Get("Vary"), "it makes no difference")
}

// TestCompressedAnswersOfOthersKeepTheirForm goes through the wrapper that
// handlers know nothing of.
func TestCompressedAnswersOfOthersKeepTheirForm(t *testing.T) {
	body := strings.Repeat("line\n", 1000)
	b := setupWith(t, time.Hour, cache.StoreOptions{}, func(o *Options) {
		o.Page = func(r gin.IRouter) {
			r.GET("/weak", func(c *gin.Context) {
				c.Header("ETag", `W/"weak"`)
				c.String(201, body)
			})
			r.GET("/strong", func(c *gin.Context) {
				c.Header("ETag", `"strong"`)
				if c.GetHeader("If-None-Match") == `"strong"` {
					c.Status(304)
					return
				}
				c.String(200, body)
			})
			r.GET("/part", func(c *gin.Context) {
				c.Header("ETag", `"strong"`)
				http.ServeContent(c.Writer, c.Request, "", time.Time{}, strings.NewReader(body))
			})
			r.GET("/flushed", func(c *gin.Context) {
				_, _ = c.Writer.WriteString(body)
				c.Writer.Flush()
				_, _ = c.Writer.WriteString(body)
			})
			r.GET("/empty", func(c *gin.Context) { c.Status(204) })
			r.GET("/half", func(c *gin.Context) {
				_, _ = c.Writer.WriteString(body)
				panic("half an answer")
			})
		}
	})
	weak := b.ask(t, "GET", "/weak", "Accept-Encoding", "gzip")
	require.Equal(t, 201, weak.status)
	require.Equal(t, `W/"weak"`, weak.header.Get("ETag"), "a weak tag is for all codings")
	require.Equal(t, body, plainBody(t, weak))
	strong := b.ask(t, "GET", "/strong", "Accept-Encoding", "gzip")
	require.Equal(t, `"strong-gzip"`, strong.header.Get("ETag"))
	require.Equal(t, body, plainBody(t, strong))
	again := b.ask(t, "GET", "/strong", "Accept-Encoding", "gzip", "If-None-Match", `"strong-gzip"`)
	require.Equal(t, 304, again.status)
	require.Equal(t, `"strong-gzip"`, again.header.Get("ETag"))
	again = b.ask(t, "GET", "/strong", "Accept-Encoding", "gzip", "If-None-Match", `"strong"`)
	require.Equal(t, `"strong"`, again.header.Get("ETag"), "the one that the client has")
	part := b.ask(t, "GET", "/part", "Accept-Encoding", "gzip", "Range", "bytes=0-2999")
	require.Equal(t, 206, part.status)
	require.Equal(t, body[:3000], part.body, "a part of the plain bytes, as Content-Range says")
	require.Equal(t, []string{"bytes 0-2999/5000", `"strong"`, ""}, []string{part.header.Get("Content-Range"), part.header.Get("ETag"), part.header.Get("Content-Encoding")})
	flushed := b.ask(t, "GET", "/flushed", "Accept-Encoding", "gzip")
	require.Equal(t, body+body, flushed.body)
	require.Equal(t, 204, b.ask(t, "GET", "/empty", "Accept-Encoding", "gzip").status)
	requireProblem(t, b.ask(t, "GET", "/half", "Accept-Encoding", "gzip"), 500, "internal")
}
