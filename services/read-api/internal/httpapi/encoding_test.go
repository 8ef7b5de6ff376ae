package httpapi

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

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
