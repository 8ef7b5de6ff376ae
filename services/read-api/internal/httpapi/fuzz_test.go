package httpapi

import (
	"net/http"
	"testing"
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
)

// FuzzRequests sends bytes as they come. Whatever they are, the answer is none of
// a fault of ours, and errors have their one form. The database is away, so 503
// is right where it would be asked.
func FuzzRequests(f *testing.F) {
	const end = " HTTP/1.1\r\nHost: x\r\n"
	for _, request := range []string{
		"GET /order/b563feb7b2b84b6test" + end,
		"HEAD /order/b563feb7b2b84b6test" + end + "If-None-Match: W/\"x\", *\r\nAccept-Encoding: gzip;q=0.1, zstd, *;q=0\r\n",
		"GET /api/v1/orders/large" + end + "Accept-Encoding: gzip\r\n",
		"GET /api/v1/orders?limit=5&customer_id=%00&created_from=2024-05-01T10:00:00Z&amount_min=-1&cursor=AgAA" + end,
		"GET /api/v1/orders?currency=USD&currency=EUR&status=1&status=x&name_prefix=%C4%B0&email=%20&phone=+1&nm_id=-0" + end,
		"GET /api/v1/orders/stream?currency=USD" + end + "Last-Event-ID: AQAA\r\n",
		"HEAD /api/v1/orders/stream" + end,
		"GET /api/v1/suggest?q=%ff" + end,
		"GET /api/v1/stats?x=1" + end,
		"GET /problems/unavailable" + end + "Accept-Encoding: zstd\r\n",
		"GET /docs" + end + "Accept-Encoding: gzip\r\nIf-None-Match: \"x-gzip\"\r\n",
		"GET /openapi.yaml" + end,
		"OPTIONS /order/a" + end + "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n",
		"POST /api/v1/orders" + end + "Content-Length: 2\r\nExpect: 100-continue\r\n",
		"DELETE //order/../order/%2e%2e/%5c?a;b" + end + "Cache-Control: no-cache\r\n",
		"GET /order/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
		"PRI * HTTP/2.0\r\n", "\r\n\r\n", "GET\r\n", "GET /\xff" + end,
	} {
		f.Add([]byte(request))
	}
	b := setupWith(f, time.Hour, cache.StoreOptions{}, func(o *Options) {
		o.Origins = []string{"https://a.example"}
		o.Streams.Hub = stream.NewHub(cache.New(time.Second), 1) // not ready
	})
	p := serve(f, b.handler, patience)
	f.Fuzz(func(t *testing.T, input []byte) {
		request := string(input) + "\r\n\r\n" // the server isn't to wait for more of a header
		r := exchange(t, p, request)
		if r.status < 400 || refusedEarly(r) {
			return
		}
		problem := requireRefused(t, request, r)
		if r.status >= 500 && (r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "") {
			t.Fatalf("%q: %d %s %s", request, r.status, problem.Type, problem.Detail)
		}
	})
}
