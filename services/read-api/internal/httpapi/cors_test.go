package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

const otherOrigin = "https://shop.example"

func TestOtherOriginsAreKeptOutUnlessSet(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	for _, method := range []string{"GET", "OPTIONS"} {
		r := b.ask(t, method, sampleAddress, "Origin", otherOrigin, "Access-Control-Request-Method", "GET")
		for name := range r.header {
			require.False(t, strings.HasPrefix(name, "Access-Control-"), name)
		}
	}
}

func TestOriginsThatAreSetMayRead(t *testing.T) {
	one := setupWith(t, time.Hour, cache.StoreOptions{}, func(o *Options) { o.Origins = []string{"https://a.example", otherOrigin} })
	r := one.ask(t, "GET", sampleAddress, "Origin", otherOrigin)
	require.Equal(t, 200, r.status)
	require.Equal(t, otherOrigin, r.header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, strings.ToLower(r.header.Get("Access-Control-Expose-Headers")), "etag")
	require.Equal(t, "Origin", r.header.Get("Vary"))
	require.Empty(t, r.header.Get("Access-Control-Allow-Credentials"))

	r = one.ask(t, "OPTIONS", "/api/v1/orders", "Origin", otherOrigin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "last-event-id")
	require.Equal(t, 204, r.status)
	require.Equal(t, "GET", r.header.Get("Access-Control-Allow-Methods"))
	require.Equal(t, "last-event-id", r.header.Get("Access-Control-Allow-Headers"))
	require.Equal(t, "600", r.header.Get("Access-Control-Max-Age"))
	for _, refused := range [][]string{
		{"Access-Control-Request-Method", "DELETE"}, {"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization"},
	} {
		r = one.ask(t, "OPTIONS", "/api/v1/orders", append([]string{"Origin", otherOrigin}, refused...)...)
		require.Empty(t, r.header.Get("Access-Control-Allow-Origin"), refused)
	}

	for _, origin := range []string{"", "null", "https://evil.example", "https://shop.example.evil"} {
		r = one.ask(t, "GET", sampleAddress, "Origin", origin)
		require.Equal(t, 200, r.status, "it is the browser that keeps it from the page")
		require.Empty(t, r.header.Get("Access-Control-Allow-Origin"), origin)
		require.Equal(t, "Origin", r.header.Get("Vary"))
	}
	r = one.ask(t, "OPTIONS", sampleAddress, "Origin", "https://evil.example", "Access-Control-Request-Method", "GET")
	for name := range r.header {
		require.False(t, strings.HasPrefix(name, "Access-Control-"), name)
	}
	requireProblem(t, one.ask(t, "OPTIONS", sampleAddress, "Origin", "https://evil.example"), 405, "method-not-allowed") // no preflight
	large := one.ask(t, "GET", "/order/large", "Origin", otherOrigin)
	require.ElementsMatch(t, []string{"Origin", "Accept-Encoding"}, large.header.Values("Vary"))

	all := setupWith(t, time.Hour, cache.StoreOptions{}, func(o *Options) { o.Origins = []string{"*"} })
	r = all.ask(t, "GET", "/order/nobody", "Origin", otherOrigin)
	requireProblem(t, r, 404, "order-not-found")
	require.Equal(t, "*", r.header.Get("Access-Control-Allow-Origin"))
}
