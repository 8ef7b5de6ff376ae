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

	r = one.ask(t, "OPTIONS", "/api/v1/orders", "Origin", otherOrigin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "last-event-id,traceparent")
	require.Equal(t, 204, r.status)
	require.Equal(t, "GET", r.header.Get("Access-Control-Allow-Methods"))
	require.Equal(t, "last-event-id,traceparent", r.header.Get("Access-Control-Allow-Headers"))
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

func TestOriginsAreComparedAsBrowsersSendThem(t *testing.T) {
	for text, want := range map[string]string{
		"*": "*", "https://Shop.example\t": "https://shop.example", "HTTPS://shop.example:443": "https://shop.example",
		"http://shop.example:80": "http://shop.example", "http://shop.example:443": "http://shop.example:443", "https://shop.example:08443": "https://shop.example:8443",
		"https://*.Shop.example": "https://*.shop.example", "https://*.shop.example:443": "https://*.shop.example", "http://*.localhost:3000": "http://*.localhost:3000",
		"https://магазин.example": "https://xn--80aairftm.example", "http://[::1]:3000": "http://[::1]:3000", "http://[0:0::1]": "http://[::1]", "http://127.0.0.1:3000": "http://127.0.0.1:3000",
		"https://my_shop.example": "https://my_shop.example",
	} {
		got, err := ParseOrigin(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{
		"", "null", "shop.example", "//shop.example", "ftp://shop.example", "https://", "https:///", "https://shop.example/", "https://shop.example/path",
		"https://shop.example?x", "https://shop.example#x", `https://shop.example\x`, "https://user@shop.example", "https://user:secret@shop.example",
		"https://shop.example.", "https://shop.example.:8443", "https://.shop.example", "https://shop..example", "https://shop example", "https://shop.example:", "https://shop.example:x", "https://shop.example:0",
		"https://shop.example:65536", "https://*", "https://*:8443", "https://*shop.example", "https://shop.*", "https://a.*.example", "https://*.*.example", "http://localhost:*",
		"https://*.192.0.2.1", "http://127.1", "http://0x7f.1", "https://shop.example,https://b.example", "http://[::1", "http://[fe80::1%25eth0]", "http://[::ffff:192.0.2.1]", "https://shop%2eexample",
	} {
		got, err := ParseOrigin(text)
		require.Error(t, err, "%q became %q", text, got)
	}
}

func TestAWildcardMatchesHostsBelowIt(t *testing.T) {
	b := setupWith(t, time.Hour, cache.StoreOptions{}, func(o *Options) { o.Origins = []string{"https://*.shop.example"} })
	for origin, allowed := range map[string]bool{
		"https://eu.shop.example": true, "https://a.eu.shop.example": true, "https://shop.example": false, "http://eu.shop.example": false,
		"https://eu.shop.example:8443": false, "https://evilshop.example": false, "https://eu.shop.example.evil": false,
	} {
		want := ""
		if allowed {
			want = origin
		}
		require.Equal(t, want, b.ask(t, "GET", sampleAddress, "Origin", origin).header.Get("Access-Control-Allow-Origin"), origin)
	}
}
