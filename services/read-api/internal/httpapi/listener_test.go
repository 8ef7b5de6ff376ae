package httpapi

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	return answer{response.StatusCode, response.Header, string(body)}
}

// requireRefused holds an answer of 400 or more against the one form of errors.
func requireRefused(tb testing.TB, request string, r answer) Problem {
	tb.Helper()
	require.Equal(tb, problemType, r.header.Get("Content-Type"), "%q: %s", request, r.body)
	require.Equal(tb, "nosniff", r.header.Get("X-Content-Type-Options"))
	require.Equal(tb, "no-store", r.header.Get("Cache-Control"))
	var p Problem
	if strings.HasPrefix(request, "HEAD ") {
		return p
	}
	require.NoError(tb, json.Unmarshal([]byte(r.body), &p), "%q: %s", request, r.body)
	require.Equal(tb, r.status, p.Status)
	require.NotContains(tb, p.Detail, "goroutine")
	for _, k := range kinds {
		if p.Type == problemsPath+k.name {
			require.Equal(tb, k.status, p.Status)
			require.Equal(tb, k.title, p.Title)
			return p
		}
	}
	require.Fail(tb, "a type that nothing explains", "%q: %s", request, p.Type)
	return p
}

// TestWhatIsNoRequestIsAProblemToo sends what never reaches a handler.
func TestWhatIsNoRequestIsAProblemToo(t *testing.T) {
	p := serve(t, setup(t, time.Hour, cache.StoreOptions{}).handler)
	const host = "Host: x\r\n"
	for _, bad := range []struct {
		request string
		status  int
		name    string
	}{
		{"nonsense\r\n\r\n", 400, "malformed-request"},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed-request"}, // TLS where there is none
		{"GET /order/a HTTP/9.9\r\n" + host + "\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/2.0\r\n" + host + "\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\n\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed-request"},
		{"GET /order/%zz HTTP/1.1\r\n" + host + "\r\n", 400, "malformed-request"},
		{"GET /order/a b HTTP/1.1\r\n" + host + "\r\n", 400, "malformed-request"},
		{"G\x01T /order/a HTTP/1.1\r\n" + host + "\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\n" + host + "Bad Name: x\r\n\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\n" + host + "Name: a\x00b\r\n\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\n" + host + "no colon\r\n\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\n" + host + "Transfer-Encoding: strange\r\n\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\n" + host + "Expect: miracles\r\n\r\n", 400, "malformed-request"},
		{"GET /order/a HTTP/1.1\r\n" + host + "Large: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, "headers-too-large"},
		{"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\n" + host + "\r\n", 431, "headers-too-large"},
		{"GET / HTTP/1.1\r\n" + host + strings.Repeat("Many: x\r\n", 10_000) + "\r\n", 431, "headers-too-large"},
		{"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 404, "no-such-address"},
		{"CONNECT x:1 HTTP/1.1\r\n" + host + "\r\n", 404, "no-such-address"},
		{"GET http://other/order/a,b HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-order-uid"},
		{"GET /order/none HTTP/1.0\r\n\r\n", 404, "order-not-found"},
	} {
		r := exchange(t, p, bad.request)
		problem := requireRefused(t, bad.request, r)
		require.Equal(t, bad.status, r.status, "%q: %s", bad.request, r.body)
		require.Equal(t, problemsPath+bad.name, problem.Type, "%q: %s", bad.request, r.body)
	}
}

// TestARefusalIsToldFromAnAnswer writes what only looks like one.
func TestARefusalIsToldFromAnAnswer(t *testing.T) {
	for _, ours := range []string{
		"", "HTTP/1.1 ", "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\n\r\n{}",
		"HTTP/1.1 200 OK" + refusalMiddle + "431 Request Header Fields Too Large", `{"name":"HTTP/1.1 400 Bad Request"}`,
	} {
		client, server := net.Pipe()
		go func() {
			_, _ = (&refusingConn{server}).Write([]byte(ours))
			_ = server.Close()
		}()
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, ours, string(got))
	}
}
