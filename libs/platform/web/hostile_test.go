package web_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// hostile is a server with the handlers that both web programs have, and with little
// patience.
type hostile struct {
	*httpserver.Server
	log           *observer.ObservedLogs
	running, most atomic.Int64 // handlers of /wait
	sent          chan error   // of each /large
	config        *tls.Config
	heap          uint64
}

const maxHeap = 64 << 20 // growth, in all of the attacks

func startHostile(t *testing.T, files *httpserver.Settings, config *tls.Config) *hostile {
	t.Helper()
	core, log := observer.New(zap.ErrorLevel)
	h := &hostile{sent: make(chan error, 10), config: config, log: log}
	engine := web.NewEngine(web.EngineOptions{Log: zap.New(core)})
	web.Get(engine, "/order/:order_uid", func(c *gin.Context) { c.String(http.StatusOK, "order") })
	engine.GET("/large", func(c *gin.Context) {
		_, err := c.Writer.Write(make([]byte, 4<<20))
		h.sent <- err
	})
	engine.GET("/wait", func(c *gin.Context) {
		now := h.running.Add(1)
		defer h.running.Add(-1)
		for most := h.most.Load(); now > most && !h.most.CompareAndSwap(most, now); most = h.most.Load() {
		}
		<-c.Request.Context().Done()
	})
	engine.POST("/body", func(c *gin.Context) {
		_, err := io.Copy(io.Discard, c.Request.Body)
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			c.Status(http.StatusRequestEntityTooLarge)
			return
		}
		if err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		c.String(http.StatusOK, "body")
	})
	h.Server = httpserver.New(httpserver.Options{
		Name: "API", Addr: "127.0.0.1:0", Handler: engine, Settings: *files, ReadTimeout: 500 * time.Millisecond,
		Patience: 500 * time.Millisecond, MaxBody: 1 << 20, StopTimeout: time.Millisecond,
	})
	require.NoError(t, h.Start(t.Context()))
	h.heap = heap()
	return h
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// end stops the server and checks what no attack may do.
func (h *hostile) end(t *testing.T) {
	t.Helper()
	now := heap()
	require.Less(t, int64(now)-int64(h.heap), int64(maxHeap), "memory")
	h.Stop()
	require.Empty(t, h.log.All(), "panics")
	require.Zero(t, h.running.Load(), "handlers that still run")
	http.DefaultClient.CloseIdleConnections()
	// net/http holds a connection for half a second after an early answer, for the client to read it.
	goleak.VerifyNone(t, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// talk sends raw bytes on a connection of its own and returns the statuses of all answers
// and the last body.
func (h *hostile) talk(t *testing.T, raw string) (statuses []int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", h.Addr())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	go func() { _, _ = io.WriteString(conn, raw) }() // the server may close before it has all
	from := bufio.NewReader(conn)
	for {
		answer, err := http.ReadResponse(from, &http.Request{Method: http.MethodGet})
		if err != nil {
			return statuses, body
		}
		content, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		statuses, body = append(statuses, answer.StatusCode), string(content)
	}
}

func TestHostileRequests(t *testing.T) {
	h := startHostile(t, &httpserver.Settings{}, nil)
	defer h.end(t)
	const get, host, end = "GET /order/a HTTP/1.1\r\n", "Host: x\r\n", "Connection: close\r\n\r\n"
	const post = "POST /body HTTP/1.1\r\nHost: x\r\n"
	ok := func(n int) (all []int) {
		for range n {
			all = append(all, http.StatusOK)
		}
		return all
	}
	bad := []int{http.StatusBadRequest}
	long := []int{http.StatusRequestHeaderFieldsTooLarge}
	for name, one := range map[string]struct {
		raw  string
		want []int // nil: the connection is closed without an answer
	}{
		"a good one":                      {get + host + end, ok(1)},
		"two different Content-Length":    {post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", bad},
		"a list of Content-Length":        {post + "Content-Length: 1, 2\r\n\r\nab", bad},
		"a signed Content-Length":         {post + "Content-Length: +1\r\n\r\na", bad},
		"a negative Content-Length":       {post + "Content-Length: -1\r\n\r\n", bad},
		"an overflowing Content-Length":   {post + "Content-Length: 99999999999999999999\r\n\r\n", bad},
		"an overflowing chunk":            {post + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nfffffffffffffffff\r\n", bad},
		"a chunk that is none":            {post + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nxyz\r\n", bad},
		"a body above the limit":          {post + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 2<<20, strings.Repeat("x", 2<<20)), []int{http.StatusRequestEntityTooLarge}},
		"a body that never comes":         {post + "Content-Length: 10\r\n\r\na", bad},
		"a header that never ends":        {get + host, nil},
		"nothing":                         {"", nil},
		"a bare CR in a header":           {get + host + "X: a\rb\r\n" + end, bad},
		"NUL in a header":                 {get + host + "X: a\x00b\r\n" + end, bad},
		"a space before the colon":        {get + host + "X : a\r\n" + end, bad},
		"no colon":                        {get + host + "X\r\n" + end, bad},
		"a continued first header":        {get + " Host: x\r\n" + end, bad},
		"no Host":                         {get + end, bad},
		"two Hosts":                       {get + host + "Host: y\r\n" + end, bad},
		"a Host that is none":             {get + "Host: a b\r\n" + end, bad},
		"a foreign Host":                  {get + "Host: evil.example:99999\r\n" + end, ok(1)},
		"the absolute form":               {"GET http://evil.example/order/a HTTP/1.1\r\n" + host + end, ok(1)},
		"the absolute form of nothing":    {"GET http:// HTTP/1.1\r\n" + host + end, []int{http.StatusNotFound}},
		"CONNECT":                         {"CONNECT evil.example:443 HTTP/1.1\r\n" + host + end, []int{http.StatusNotFound}},
		"OPTIONS of all":                  {"OPTIONS * HTTP/1.1\r\n" + host + end, []int{http.StatusNotFound}},
		"TRACE":                           {"TRACE /order/a HTTP/1.1\r\n" + host + end, []int{http.StatusMethodNotAllowed}},
		"an address with NUL":             {"GET /order/%00 HTTP/1.1\r\n" + host + end, ok(1)},
		"an address that is none":         {"GET /order/%zz HTTP/1.1\r\n" + host + end, bad},
		"the preface of HTTP/2":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{http.StatusNotFound}},
		"a line above the limit":          {"GET /order/" + strings.Repeat("a", 100<<10) + " HTTP/1.1\r\n" + host + end, long},
		"a header above the limit":        {get + host + "X: " + strings.Repeat("x", 70<<10) + "\r\n" + end, long},
		"many headers above the limit":    {get + host + strings.Repeat("X: x\r\n", 20_000) + end, long},
		"a header above net/http's limit": {get + host + strings.Repeat("X: "+strings.Repeat("x", 8<<10)+"\r\n", 512) + end, long},
		"a pipeline":                      {strings.Repeat(get+host+"\r\n", 500) + get + host + end, ok(501)},
	} {
		t.Run(name, func(t *testing.T) {
			statuses, _ := h.talk(t, one.raw)
			require.Equal(t, one.want, statuses)
		})
	}
	t.Run("smuggled by Content-Length beside Transfer-Encoding", func(t *testing.T) {
		// RFC 9112 6.1: the encoding counts, and the connection ends after the answer, so a
		// proxy that counted the length gets no answer to what it did not send.
		statuses, _ := h.talk(t, post+"Content-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /order/smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
		require.Equal(t, ok(1), statuses)
	})
	t.Run("a folded header is one value", func(t *testing.T) {
		statuses, _ := h.talk(t, get+host+"X: a\r\n Content-Length: 5\r\n"+end)
		require.Len(t, statuses, 1)
		require.Less(t, statuses[0], 500)
	})
	// What net/http answers before any handler, as RFC 9112 (6.1) and RFC 9110 (15.6.6)
	// ask for: it says that the request cannot be understood, not that the server failed.
	for raw, want := range map[string]int{
		post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n":                         http.StatusNotImplemented,
		post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": http.StatusNotImplemented,
		"GET / HTTP/3.0\r\n" + host + end:                                                  http.StatusHTTPVersionNotSupported,
	} {
		statuses, _ := h.talk(t, raw)
		require.Equal(t, []int{want}, statuses, raw)
	}
}

func TestMoreConnectionsThanAllowedWait(t *testing.T) {
	h := startHostile(t, &httpserver.Settings{MaxConnections: 2}, nil)
	defer h.end(t)
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", h.Addr())
		require.NoError(t, err)
		conns = append(conns, conn)
		_, err = io.WriteString(conn, "GET /order/a HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
	}
	answered := func(conn net.Conn) bool {
		_, err := bufio.NewReader(conn).ReadString('\n')
		return err == nil
	}
	require.True(t, answered(conns[0]))
	require.True(t, answered(conns[1]))
	require.NoError(t, conns[2].SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	require.False(t, answered(conns[2]), "it has no place yet")
	require.NoError(t, conns[0].Close())
	require.NoError(t, conns[2].SetReadDeadline(time.Time{}))
	require.True(t, answered(conns[2]))
	require.NoError(t, conns[1].Close())
	require.NoError(t, conns[2].Close())
}

// framed is a client of HTTP/2 that keeps to no rules.
type framed struct {
	*http2.Framer
	conn   net.Conn
	fields bytes.Buffer
	coder  *hpack.Encoder
}

func (h *hostile) framed(t *testing.T, settings ...http2.Setting) *framed {
	t.Helper()
	conn, err := (&tls.Dialer{Config: h.config}).DialContext(t.Context(), "tcp", h.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	f := &framed{Framer: http2.NewFramer(conn, conn), conn: conn}
	f.coder = hpack.NewEncoder(&f.fields)
	require.NoError(t, f.WriteSettings(settings...))
	return f
}

func (f *framed) block(path string, more ...hpack.HeaderField) []byte {
	f.fields.Reset()
	for _, field := range append([]hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "x"}, {Name: ":path", Value: path}}, more...) {
		_ = f.coder.WriteField(field) // into memory
	}
	return f.fields.Bytes()
}

// drain reads until the server closes the connection or reset ends a stream.
func (f *framed) drain(frame func(http2.Frame)) {
	for {
		got, err := f.ReadFrame()
		if stream := (http2.StreamError{}); err != nil && !errors.As(err, &stream) {
			return
		}
		if frame != nil && err == nil {
			frame(got)
		}
	}
}

func hostileTLS(t *testing.T) *hostile {
	t.Helper()
	made := httptest.NewTLSServer(nil) // with a certificate of its own
	made.Close()
	pair := made.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	files := &httpserver.Settings{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	require.NoError(t, os.WriteFile(files.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(files.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	pool := x509.NewCertPool()
	pool.AddCert(made.Certificate())
	return startHostile(t, files, &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
}

// alive makes an ordinary request.
func (h *hostile) alive(t *testing.T) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: h.config.Clone(), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("https://" + h.Addr() + "/order/a")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, 2, answer.ProtoMajor)
}

func TestHTTP2RapidReset(t *testing.T) {
	h := hostileTLS(t)
	defer h.end(t)
	f := h.framed(t)
	ended := make(chan struct{})
	go func() {
		f.drain(nil)
		close(ended)
	}()
	block := bytes.Clone(f.block("/wait"))
	for id := uint32(1); id < 40_000; id += 2 {
		if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}) != nil ||
			f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break // the server has had enough
		}
	}
	h.alive(t)
	require.LessOrEqual(t, h.most.Load(), int64(250), "handlers at once")
	_ = f.conn.Close()
	<-ended
}

func TestHTTP2ContinuationFlood(t *testing.T) {
	h := hostileTLS(t)
	defer h.end(t)
	f := h.framed(t)
	ended := make(chan struct{})
	go func() {
		f.drain(nil)
		close(ended)
	}()
	require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: bytes.Clone(f.block("/order/a")), EndStream: true}))
	f.fields.Reset()
	require.NoError(t, f.coder.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("x", 8<<10), Sensitive: true}))
	sent := 0
	for ; sent < 10_000; sent++ { // 80 MiB
		if f.WriteContinuation(1, false, f.fields.Bytes()) != nil {
			break
		}
	}
	require.Less(t, sent, 10_000, "the server closes the connection")
	<-ended
	h.alive(t)
}

func TestHTTP2HeaderTables(t *testing.T) {
	h := hostileTLS(t)
	defer h.end(t)
	f := h.framed(t, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1<<32 - 1}, http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 1<<32 - 1})
	// One field of 4 KiB enters the table, and a byte each names it some thousand times.
	field := hpack.HeaderField{Name: "x", Value: strings.Repeat("x", 3000)}
	more := make([]hpack.HeaderField, 8000)
	for i := range more {
		more[i] = field
	}
	block := bytes.Clone(f.block("/order/a", more...))
	require.Less(t, len(block), 16<<10)
	require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true}))
	status := ""
	decoder := hpack.NewDecoder(4096, func(field hpack.HeaderField) {
		if field.Name == ":status" {
			status = field.Value
		}
	})
	ended := make(chan struct{})
	answered := make(chan struct{})
	go func() {
		defer close(ended)
		f.drain(func(frame http2.Frame) {
			if headers, ok := frame.(*http2.HeadersFrame); ok && status == "" {
				_, _ = decoder.Write(headers.HeaderBlockFragment())
				close(answered)
			}
		})
	}()
	select {
	case <-answered:
		require.Equal(t, "431", status)
	case <-ended:
	}
	h.alive(t)
	_ = f.conn.Close()
	<-ended
}

// TestHTTP2StreamThatTakesNothing has an open connection and no window: a stream ends when
// the client has taken nothing for the patience.
func TestHTTP2StreamThatTakesNothing(t *testing.T) {
	h := hostileTLS(t)
	defer h.end(t)
	f := h.framed(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	ended := make(chan struct{})
	go func() {
		f.drain(func(frame http2.Frame) {
			if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() {
				_ = f.WritePing(true, ping.Data)
			}
		})
		close(ended)
	}()
	require.NoError(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: bytes.Clone(f.block("/large")), EndStream: true, EndHeaders: true}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case err := <-h.sent:
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case <-ctx.Done():
		t.Fatal("the handler waits for ever")
	}
	_ = f.conn.Close()
	<-ended
}
