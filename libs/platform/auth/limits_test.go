package auth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stream opens a stream over a real connection. ended waits until the server ends it,
// hangUp ends it here.
func stream(t *testing.T, server *httptest.Server, token string) (status int, ended, hangUp func()) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, server.URL+"/stream", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := server.Client().Do(request)
	require.NoError(t, err)
	hangUp = func() { _ = response.Body.Close() }
	t.Cleanup(hangUp)
	return response.StatusCode, func() {
		_, err := response.Body.Read(make([]byte, 1))
		require.Error(t, err)
	}, hangUp
}

func TestLimits(t *testing.T) {
	ann, annLine := newToken(t, "ann", OrdersRead, time.Time{})
	bob, bobLine := newToken(t, "bob", OrdersRead, time.Time{})
	s := withTokens(t, annLine, bobLine)
	s.Rate, s.Burst, s.Streams = 1, 100, 1
	r := newRig(t, s)
	w := r.bearer("/read", ann)
	require.Equal(t, `"requests";q=100;w=100`, w.Header().Get("RateLimit-Policy"))
	require.Equal(t, `"requests";r=99;t=1`, w.Header().Get("RateLimit"))
	asked := 0
	for w = r.bearer("/list", ann); w.Code == 200; w = r.bearer("/list", ann) {
		asked++
	}
	require.InDelta(t, 9, asked, 2, "a list costs ten")
	require.Equal(t, 429, w.Code)
	require.NotEqual(t, "0", w.Header().Get("Retry-After"))
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.Equal(t, 200, r.bearer("/list", bob).Code, "each caller has its own")

	server := httptest.NewServer(r.handler)
	defer server.Close()
	first, _, hangUp := stream(t, server, bob)
	require.Equal(t, 200, first)
	second, _, _ := stream(t, server, bob)
	require.Equal(t, 429, second)
	hangUp()
	require.Eventually(t, func() bool { return r.tokens.find(sha(bob)).allowance.streams.Load() == 0 }, 20*time.Second, time.Millisecond)
	third, _, hangUp := stream(t, server, bob)
	require.Equal(t, 200, third)
	hangUp()
}

func TestRefusalsAreLimitedByAddress(t *testing.T) {
	ann, line := newToken(t, "ann", OrdersRead, time.Time{})
	bob, second := newToken(t, "bob", OrdersRead, time.Time{})
	s := withTokens(t, line, second)
	s.RefusedRate = 1
	r := newRig(t, s)
	require.Equal(t, 200, r.bearer("/read", ann).Code)
	codes := map[int]int{}
	for n := range 40 {
		codes[r.bearer("/read", fmt.Sprint("guess", n)).Code]++
	}
	require.NotZero(t, codes[429])
	require.InDelta(t, 10, codes[401], 5)
	require.Equal(t, 429, r.ask("GET", "/read").Code)
	require.Equal(t, 200, r.bearer("/read", ann).Code, "who is known goes on")
	require.Equal(t, 200, r.bearer("/read", bob).Code, "strangers at an address keep out nobody who has a token")
	require.Equal(t, 401, r.ask("GET", "/read", "Remote", "198.51.100.1:5").Code, "and so do other addresses")
	require.Equal(t, 429, r.ask("GET", "/read", "X-Forwarded-For", "203.0.113.9").Code, "nobody chooses an address")
	for range 30 {
		r.ask("GET", "/read", "Remote", "[2001:db8::1]:5")
	}
	require.Equal(t, 429, r.ask("GET", "/read", "Remote", "[2001:db8::2]:5").Code, "a network counts as one")
}
