package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// withoutFront is the API as net/http alone serves it.
func withoutFront(api *API) *API {
	return &API{api.Handler, func(dst []byte, _ string, _ time.Time) ([]byte, *measure) { return dst, nil }}
}

// parseAnswer reads an answer to GET, and takes away the date.
func parseAnswer(tb testing.TB, from *bufio.Reader) answer {
	tb.Helper()
	response, err := http.ReadResponse(from, &http.Request{Method: http.MethodGet})
	require.NoError(tb, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(tb, err)
	require.NoError(tb, response.Body.Close())
	_, err = http.ParseTime(response.Header.Get("Date"))
	require.NoError(tb, err)
	response.Header.Del("Date")
	return answer{response.StatusCode, response.Header, string(body)}
}

// requireAsNetHTTP holds what the front answers to a request, if it does, against
// what the API does through net/http, which plain serves.
func requireAsNetHTTP(tb testing.TB, api *API, plain *pipes, request string) (answered bool) {
	tb.Helper()
	quick, measure := api.quick(nil, request, time.Now())
	if measure == nil {
		return false
	}
	from := bufio.NewReader(bytes.NewReader(quick))
	got := parseAnswer(tb, from)
	require.Zero(tb, from.Buffered(), "nothing follows the answer to %q", request)
	conn := plain.dial(tb)
	defer func() { _ = conn.Close() }()
	_, err := io.WriteString(conn, request)
	require.NoError(tb, err)
	require.Equal(tb, parseAnswer(tb, bufio.NewReader(conn)), got, "%q", request)
	return true
}

const (
	requestLine = "GET " + sampleAddress + " HTTP/1.1\r\n"
	hitRequest  = requestLine + "Host: x\r\n\r\n"
)

func TestTheFrontAnswersAsNetHTTPDoes(t *testing.T) {
	etag := cache.ETag([]byte(canonical))
	for name, origins := range map[string][]string{"no other origin": nil, "one": {otherOrigin}, "any": {"*"}} {
		t.Run(name, func(t *testing.T) {
			for _, store := range []cache.StoreOptions{{}, {Compress: true}} {
				b := setupWith(t, time.Hour, store, func(o *Options) { o.Origins = origins })
				plain := serve(t, withoutFront(b.handler))
				for _, request := range []string{
					hitRequest,
					"GET /api/v1/orders/b563feb7b2b84b6test HTTP/1.1\r\nhost: orders.example:8081\r\nuser-agent: curl/8\r\nACCEPT: */*\r\n\r\n",
					requestLine + "Host: [::1]:8081\r\nConnection: Keep-Alive\r\nAccept-Encoding: gzip, zstd\r\nAccept:application/json\r\n\r\n",
					requestLine + "Host: x\r\nIf-None-Match: " + etag + "\r\n\r\n",
					requestLine + "Host: x\r\nIf-None-Match:   \"other\", W/" + etag + "  \r\n\r\n",
					requestLine + "Host: x\r\nIf-None-Match: *\r\n\r\n",
					requestLine + "Host: x\r\nIf-None-Match: \"other\"\r\n\r\n",
					requestLine + "Host: x\r\nIf-None-Match:\r\n\r\n",
					"GET /order/nobody HTTP/1.1\r\nHost: x\r\n\r\n",
					"GET /order/nobody HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
					"GET /order/.. HTTP/1.1\r\nHost: x\r\n\r\n",
					"GET /api/v1/orders/- HTTP/1.1\r\nHost: x\r\n\r\n",
				} {
					require.True(t, requireAsNetHTTP(t, b.handler, plain, request), "%q is for the front", request)
				}
			}
		})
	}
}

func TestTheFrontLeavesWhatMayBeOtherwise(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	for _, request := range []string{
		"", "\r\n\r\n", hitRequest[:len(hitRequest)-2], hitRequest[:20], hitRequest + "x", hitRequest + hitRequest, " " + hitRequest,
		"HEAD " + strings.TrimPrefix(hitRequest, "GET "), "get " + strings.TrimPrefix(hitRequest, "GET "),
		strings.Replace(hitRequest, "1.1", "1.0", 1), strings.ReplaceAll(hitRequest, "\r\n", "\n"),
		"GET /order/ HTTP/1.1\r\nHost: x\r\n\r\n", "GET /order/a%20b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /order/a?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /order/a/b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /order/large HTTP/1.1\r\nHost: x\r\n\r\n", "GET http://x/order/a HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /api/v1/orders HTTP/1.1\r\nHost: x\r\n\r\n", "GET /api/v1/orders/stream HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		requestLine + "\r\n", requestLine + "Host: x\r\nHost: x\r\n\r\n", requestLine + "Host:\r\n\r\n", requestLine + "Host: a b\r\n\r\n", requestLine + "Host: a@b\r\n\r\n",
	} {
		_, measure := b.handler.quick(nil, request, time.Now())
		require.Nil(t, measure, "%q", request)
	}
	for _, line := range []string{
		"Connection: close", "Connection: keep-alive, upgrade", "Content-Length: 0", "Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: h2c",
		"Cache-Control: no-cache", "Origin: " + otherOrigin, "If-None-Match: \"a\"\r\nIf-None-Match: \"b\"", "Unknown: x",
		"no colon", "Accept : x", " Accept: x", "Accept: a\x00b", "Accept: a\tb", "Accept: \xff", "Accept: x\r\n continued", ": x", "Accept: x\n", "Accept: x\ry",
	} {
		_, measure := b.handler.quick(nil, requestLine+"Host: x\r\n"+line+"\r\n\r\n", time.Now())
		require.Nil(t, measure, "%q", line)
	}
	stale := setup(t, time.Nanosecond, cache.StoreOptions{})
	_, measure := stale.handler.quick(nil, hitRequest, time.Now())
	require.Nil(t, measure, "an answer that is marked as stale")
}

// FuzzFront looks for requests that the front answers in another way than
// net/http.
func FuzzFront(f *testing.F) {
	for _, request := range []string{
		hitRequest, requestLine + "Host: x\r\nIf-None-Match: W/\"a\", *\r\nConnection: keep-alive\r\n\r\n",
		"GET /api/v1/orders/nobody HTTP/1.1\r\nHost: [::1]:80\r\nAccept-Encoding: gzip\r\n\r\n", "GET /order/large HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add(request)
	}
	b := setupWith(f, time.Hour, cache.StoreOptions{}, func(*Options) {})
	plain := serve(f, withoutFront(b.handler))
	f.Fuzz(func(t *testing.T, request string) { requireAsNetHTTP(t, b.handler, plain, request) })
}

// visitor is one connection, for one request after another.
type visitor struct {
	net.Conn
	from *bufio.Reader
}

func connect(tb testing.TB, p *pipes) *visitor {
	tb.Helper()
	conn := p.dial(tb)
	tb.Cleanup(func() { _ = conn.Close() })
	return &visitor{conn, bufio.NewReader(conn)}
}

func (c *visitor) ask(tb testing.TB, pieces ...string) answer {
	tb.Helper()
	for _, piece := range pieces {
		_, err := io.WriteString(c, piece)
		require.NoError(tb, err)
	}
	return parseAnswer(tb, c.from)
}

// TestAConnectionGoesOverToNetHTTP has requests on one connection that the front
// answers, and then others, and then again such as it would answer.
func TestAConnectionGoesOverToNetHTTP(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	const nobody = "GET /order/nobody HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, one := range map[string]struct {
		pieces   []string
		statuses []int
	}{
		"another address":              {[]string{"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"}, []int{404}},
		"a large order":                {[]string{"GET /order/large HTTP/1.1\r\nHost: x\r\n\r\n"}, []int{200}},
		"the database is asked":        {[]string{requestLine + "Host: x\r\nCache-Control: no-cache\r\n\r\n"}, []int{503}},
		"in pieces":                    {[]string{hitRequest[:7], hitRequest[7:]}, []int{200}},
		"two at once":                  {[]string{hitRequest + nobody}, []int{200, 404}},
		"more than the front's memory": {[]string{requestLine + "Host: x\r\nAccept: " + strings.Repeat("x", 2*maxQuickRequest) + "\r\n\r\n"}, []int{200}},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, serve(t, b.handler))
			ordinary := func() {
				hit := c.ask(t, hitRequest)
				require.Equal(t, canonical, hit.body)
				require.Equal(t, 304, c.ask(t, requestLine+"Host: x\r\nIf-None-Match: "+hit.header.Get("ETag")+"\r\n\r\n").status)
				require.Equal(t, 404, c.ask(t, nobody).status)
			}
			ordinary()
			require.Equal(t, one.statuses[0], c.ask(t, one.pieces...).status)
			for _, status := range one.statuses[1:] {
				require.Equal(t, status, parseAnswer(t, c.from).status)
			}
			ordinary()
		})
	}
}

func TestWhatTheFrontAnswersIsMeasured(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	c := connect(t, serve(t, b.handler))
	for range 3 {
		c.ask(t, hitRequest)
	}
	c.ask(t, "GET /order/nobody HTTP/1.1\r\nHost: x\r\n\r\n")
	b.ask(t, "GET", sampleAddress)
	// The next answer is begun after the last one was measured.
	c.ask(t, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, map[string]uint64{"200": 4, "404": 1}, countsOf(t, b.metrics, "order"))
}

// countsOf are a route's answers by status.
func countsOf(t *testing.T, metrics prometheus.Gatherer, route string) map[string]uint64 {
	t.Helper()
	families, err := metrics.Gather()
	require.NoError(t, err)
	counts := map[string]uint64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range m.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if labels["route"] == route {
				counts[labels["code"]] = m.GetHistogram().GetSampleCount()
			}
		}
	}
	return counts
}

func newTestServer(t *testing.T, api *API) (*Server, *pipes) {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := NewServer("", api, zap.NewNop(), func(err error) { t.Error(err) })
	server.serve(p)
	return server, p
}

func TestAStopEndsIdleConnectionsAndFinishesAnswers(t *testing.T) {
	server, p := newTestServer(t, setup(t, time.Hour, cache.StoreOptions{}).handler)
	idle, fresh, busy := connect(t, p), connect(t, p), connect(t, p)
	idle.ask(t, hitRequest)
	_, err := io.WriteString(busy, hitRequest) // the answer is not written before it is read
	require.NoError(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- server.Stop(context.Background()) }()
	for _, c := range []*visitor{idle, fresh} {
		_, err := c.from.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	}
	select {
	case err := <-stopped:
		require.Fail(t, "stopped before the last answer was written", "%v", err)
	default:
	}
	require.Equal(t, canonical, busy.ask(t).body)
	require.NoError(t, <-stopped)
	_, err = busy.from.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

func TestAStopCutsOffWhoDoesNotRead(t *testing.T) {
	server, p := newTestServer(t, setup(t, time.Hour, cache.StoreOptions{}).handler)
	c := connect(t, p)
	_, err := io.WriteString(c, hitRequest)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, server.Stop(ctx), context.Canceled)
}

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	api := setup(t, time.Hour, cache.StoreOptions{}).handler
	quick := api.quick
	api.quick = func(dst []byte, request string, now time.Time) ([]byte, *measure) {
		if strings.Contains(request, "nobody") {
			panic("a fault")
		}
		return quick(dst, request, now)
	}
	p := serve(t, api)
	c, other := connect(t, p), connect(t, p)
	_, err := io.WriteString(c, "GET /order/nobody HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	_, err = c.from.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, canonical, other.ask(t, hitRequest).body)
}

// scripted is a connection with a request that comes again and again.
type scripted struct {
	net.Conn
	request   string
	times     int
	deadlines [2]time.Time // for reads, for writes
}

func (s *scripted) Read(p []byte) (int, error) {
	if s.times == 0 {
		return 0, io.EOF
	}
	s.times--
	return copy(p, s.request), nil
}

func (s *scripted) Write(p []byte) (int, error)         { return len(p), nil }
func (s *scripted) SetReadDeadline(at time.Time) error  { s.deadlines[0] = at; return nil }
func (s *scripted) SetWriteDeadline(at time.Time) error { s.deadlines[1] = at; return nil }

func (s *scripted) SetDeadline(at time.Time) error {
	return errors.Join(s.SetReadDeadline(at), s.SetWriteDeadline(at))
}

// noConns is a listener to which nobody connects.
func noConns() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func newTestFront(t *testing.T, api *API) *front {
	t.Helper()
	f := newFront(noConns(), api.quick, frontTimeouts{header: time.Minute, idle: time.Hour, write: 2 * time.Minute}, zap.NewNop())
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		require.NoError(t, f.Wait(context.Background()))
	})
	return f
}

func TestConnectionsHaveDeadlines(t *testing.T) {
	f := newTestFront(t, setup(t, time.Hour, cache.StoreOptions{}).handler)
	for times, within := range [][2]time.Duration{{time.Minute, 0}, {time.Hour, 2*time.Minute + deadlinesHold}, {time.Hour, 2*time.Minute + deadlinesHold}} {
		conn := &scripted{request: hitRequest, times: times}
		began := time.Now()
		require.Nil(t, f.answerOn(conn))
		for i, limit := range within {
			if limit == 0 {
				require.Zero(t, conn.deadlines[i])
				continue
			}
			require.False(t, conn.deadlines[i].Before(began.Add(limit)))
			require.False(t, conn.deadlines[i].After(time.Now().Add(limit)))
		}
	}
}

func TestNetHTTPGetsAConnectionWithoutDeadlines(t *testing.T) {
	f := newTestFront(t, setup(t, time.Hour, cache.StoreOptions{}).handler)
	conn := &scripted{request: "GET /docs HTTP/1.1\r\nHost: x\r\n\r\n", times: 1}
	go f.serve(conn)
	taken, err := f.Accept()
	require.NoError(t, err)
	require.Zero(t, conn.deadlines)
	read, err := io.ReadAll(taken)
	require.NoError(t, err)
	require.Equal(t, conn.request, string(read))
}

func TestTheFrontAllocatesNothingForARequest(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	for _, store := range []cache.StoreOptions{{}, {Compress: true}} {
		f := newTestFront(t, setup(t, time.Hour, store).handler)
		for name, request := range map[string]string{
			"200": hitRequest, "304": requestLine + "Host: x\r\nIf-None-Match: " + cache.ETag([]byte(canonical)) + "\r\n\r\n",
			"404": "GET /order/nobody HTTP/1.1\r\nHost: x\r\n\r\n",
		} {
			allocations := func(requests int) float64 {
				conn := &scripted{request: request}
				return testing.AllocsPerRun(100, func() {
					conn.times = requests
					f.answerOn(conn)
				})
			}
			require.InDelta(t, allocations(1), allocations(101), 0, name)
		}
	}
}
