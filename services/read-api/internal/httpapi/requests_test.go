package httpapi

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// exchange sends bytes and returns the first answer to them.
func exchange(tb testing.TB, p *pipes, request string) answer {
	tb.Helper()
	conn := p.dial(tb)
	defer func() { _ = conn.Close() }()
	require.NoError(tb, conn.SetDeadline(time.Now().Add(patience)))
	go func() { _, _ = io.WriteString(conn, request) }() // it ends with the connection at the latest
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(tb, err, "%q", request)
	body, err := io.ReadAll(response.Body)
	require.NoError(tb, err, "%q", request)
	require.NoError(tb, response.Body.Close())
	return answer{response.StatusCode, response.Header, string(body), response.Header.Get("X-Request-Id")}
}

// refusedEarly tells whether net/http refused a request before any handler saw it:
// as text, and the connection is closed.
func refusedEarly(r answer) bool {
	if r.status == http.StatusExpectationFailed {
		return r.body == ""
	}
	early := []int{http.StatusBadRequest, http.StatusRequestHeaderFieldsTooLarge, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported}
	return slices.Contains(early, r.status) && strings.HasPrefix(r.header.Get("Content-Type"), "text/plain")
}

// requireRefused checks that an answer of 400 or more has the one form of errors.
func requireRefused(tb testing.TB, request string, r answer) problem.Body {
	tb.Helper()
	require.Equal(tb, problem.ContentType, r.header.Get("Content-Type"), "%q: %s", request, r.body)
	require.Equal(tb, "nosniff", r.header.Get("X-Content-Type-Options"))
	require.Equal(tb, "no-store", r.header.Get("Cache-Control"))
	var p problem.Body
	if strings.HasPrefix(request, "HEAD ") {
		return p
	}
	require.NoError(tb, json.Unmarshal([]byte(r.body), &p), "%q: %s", request, r.body)
	require.Equal(tb, r.status, p.Status)
	require.NotContains(tb, p.Detail, "goroutine")
	for _, k := range kinds {
		if p.Type == problem.Path+k.Name {
			require.Equal(tb, k.Code.HTTPStatus(), p.Status)
			require.Equal(tb, k.Title, p.Title)
			return p
		}
	}
	require.Fail(tb, "a type that nothing explains", "%q: %s", request, p.Type)
	return p
}

// TestOddRequests sends what hardly is a request. What never reaches a handler,
// net/http refuses by itself, as text. Cookies of other programs at the same host name
// are no reason to refuse one, unless they are longer than any server takes.
func TestOddRequests(t *testing.T) {
	p := serve(t, setup(t, time.Hour, cache.StoreOptions{}).handler, patience)
	const host = "Host: x\r\n"
	for _, bad := range []struct {
		request string
		status  int
		name    string
	}{
		{"nonsense\r\n\r\n", 400, ""},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""}, // TLS where there is none
		{"GET /order/a HTTP/9.9\r\n" + host + "\r\n", 505, ""},
		{"GET /order/a HTTP/2.0\r\n" + host + "\r\n", 505, ""},
		{"GET /order/a HTTP/1.1\r\n\r\n", 400, ""},
		{"GET /order/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, ""},
		{"GET /order/a HTTP/1.1\r\nHost: a b\r\n\r\n", 400, ""},
		{"GET /order/%zz HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"GET /order/a b HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"G\x01T /order/a HTTP/1.1\r\n" + host + "\r\n", 400, ""},
		{"GET /order/a HTTP/1.1\r\n" + host + "Bad Name: x\r\n\r\n", 400, ""},
		{"GET /order/a HTTP/1.1\r\n" + host + "Name: a\x00b\r\n\r\n", 400, ""},
		{"GET /order/a HTTP/1.1\r\n" + host + "no colon\r\n\r\n", 400, ""},
		{"GET /order/a HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", 400, ""},
		{"GET /order/a HTTP/1.1\r\n" + host + "Transfer-Encoding: strange\r\n\r\n", 501, ""},
		{"GET /order/a HTTP/1.1\r\n" + host + "Expect: miracles\r\n\r\n", 417, ""},
		{"GET /order/a HTTP/1.1\r\n" + host + "Large: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, "long-header"},
		{"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\n" + host + "\r\n", 431, "long-header"},
		{"GET / HTTP/1.1\r\n" + host + strings.Repeat("Many: x\r\n", 10_000) + "\r\n", 431, "long-header"},
		{"GET /order/none HTTP/1.1\r\n" + host + "Cookie: " + strings.Repeat("x", 63<<10) + "\r\n\r\n", 404, "order-not-found"},
		{"GET /order/a HTTP/1.1\r\n" + host + "Large: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", 431, ""},
		{"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 404, "no-such-address"},
		{"CONNECT x:1 HTTP/1.1\r\n" + host + "\r\n", 404, "no-such-address"},
		{"GET http://other/order/a,b HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-order-uid"},
		{"GET /order/none HTTP/1.0\r\n\r\n", 404, "order-not-found"},
	} {
		r := exchange(t, p, bad.request)
		require.Equal(t, bad.status, r.status, "%q: %s", bad.request, r.body)
		if bad.name == "" {
			require.True(t, refusedEarly(r), "%q: %s", bad.request, r.body)
			continue
		}
		require.Equal(t, problem.Path+bad.name, requireRefused(t, bad.request, r).Type, "%q: %s", bad.request, r.body)
	}
}

// TestOneConnectionTakesAllKindsOfRequests has them one after another, in pieces,
// and two at once.
func TestOneConnectionTakesAllKindsOfRequests(t *testing.T) {
	const nobody = "GET /order/nobody HTTP/1.1\r\nHost: x\r\n\r\n"
	const requestLine = "GET " + sampleAddress + " HTTP/1.1\r\n"
	const hit = requestLine + "Host: x\r\n\r\n"
	conn := serve(t, setup(t, time.Hour, cache.StoreOptions{}).handler, patience).dial(t)
	defer func() { _ = conn.Close() }()
	from := bufio.NewReader(conn)
	for _, one := range []struct {
		pieces   []string
		statuses []int
	}{
		{[]string{hit}, []int{200}},
		{[]string{requestLine + "Host: x\r\nIf-None-Match: " + cache.ETag([]byte(canonical)) + "\r\n\r\n"}, []int{304}},
		{[]string{nobody}, []int{404}},
		{[]string{"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"}, []int{404}},
		{[]string{"GET /order/large HTTP/1.1\r\nHost: x\r\n\r\n"}, []int{200}},
		{[]string{requestLine + "Host: x\r\nCache-Control: no-cache\r\n\r\n"}, []int{503}},
		{[]string{hit[:7], hit[7:]}, []int{200}},
		{[]string{hit + nobody}, []int{200, 404}},
		{[]string{requestLine + "Host: x\r\nCookie: a=" + strings.Repeat("x", 4096) + "\r\n\r\n"}, []int{200}},
	} {
		for _, piece := range one.pieces {
			_, err := io.WriteString(conn, piece)
			require.NoError(t, err)
		}
		for _, status := range one.statuses {
			response, err := http.ReadResponse(from, &http.Request{Method: http.MethodGet})
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, status, response.StatusCode, "%q", one.pieces)
		}
	}
}

func TestRequestsAreMeasuredByRouteAndCode(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	for _, target := range []string{sampleAddress, "/order/nobody", sampleAddress, "/api/v1/orders/b563feb7b2b84b6test", "/nowhere", "/boom", "/docs"} {
		b.ask(t, "GET", target)
	}
	require.Equal(t, map[string]uint64{"200": 3, "404": 1, "500": 0, "503": 0}, countsOf(t, b.metrics, "order"), "failures are there before the first one")
	require.Equal(t, map[string]uint64{"404": 1}, countsOf(t, b.metrics, "none"))
	require.Equal(t, map[string]uint64{"200": 0, "500": 1, "503": 0}, countsOf(t, b.metrics, "page"))
	require.Equal(t, map[string]uint64{"200": 1, "500": 0, "503": 0}, countsOf(t, b.metrics, "docs"))
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
