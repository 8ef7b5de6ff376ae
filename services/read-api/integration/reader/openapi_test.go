package reader_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/services/read-api/internal/httpapi"
)

// description is the one that the API serves, as a test of httpapi shows, loaded once.
var description struct {
	once   sync.Once
	doc    *openapi3.T
	router routers.Router
	one    sync.Mutex // checks at a time: they must not starve the reader under test
}

func loadDescription(t *testing.T) {
	t.Helper()
	description.once.Do(func() {
		openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.PlainBodyDecoder)
		openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.PlainBodyDecoder)
		openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.PlainBodyDecoder)
		doc, err := openapi3.NewLoader().LoadFromData(httpapi.OpenAPI)
		require.NoError(t, err)
		require.NoError(t, doc.Validate(t.Context(), openapi3.EnableSchemaPatternValidation(), openapi3.EnableSchemaDefaultsValidation()))
		description.doc = doc
		description.router, err = gorillamux.NewRouter(doc)
		require.NoError(t, err)
	})
	require.NotNil(t, description.router, "the description can't be used")
}

// described holds an exchange with the API against its description: the answer
// always, with all of its headers, and the request where it was accepted. The web
// page's addresses are not described.
func (r *reader) described(request *http.Request, response *http.Response, body []byte) {
	r.t.Helper()
	if path := request.URL.Path; path == "/" || strings.HasPrefix(path, "/assets/") {
		return
	}
	loadDescription(r.t)
	description.one.Lock()
	defer description.one.Unlock()
	route, parameters, err := description.router.FindRoute(request)
	require.NoError(r.t, err, "%s %s is not described", request.Method, request.URL)
	input := &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
	if response.StatusCode < 400 {
		require.NoError(r.t, openapi3filter.ValidateRequest(r.t.Context(), input), "%s", request.URL)
	}
	body = plainBytes(r.t, response, body)
	answer := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: response.StatusCode, Header: response.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	require.NoError(r.t, openapi3filter.ValidateResponse(r.t.Context(), answer.SetBodyBytes(body)), "%s %s: %d", request.Method, request.URL, response.StatusCode)
	require.NotEmpty(r.t, response.Header.Get("X-Request-Id"))
	told := slices.Clone(commonHeaders)
	for name := range route.Operation.Responses.Status(response.StatusCode).Value.Headers {
		told = append(told, http.CanonicalHeaderKey(name))
	}
	for name := range response.Header {
		require.Contains(r.t, told, name, "%s %s: %d has %s", request.Method, request.URL, response.StatusCode, name)
	}
}

// undescribed tells what is wrong with an event of the stream: its data has a
// schema of its own.
func undescribed(e event) error {
	name, known := map[string]string{"upsert": "Order", "delete": "Deletion", "left": "Deletion", "reset": "Reset", "snapshot-end": "SnapshotEnd", "end": "End"}[e.kind]
	if !known {
		return fmt.Errorf("there is no event %q", e.kind)
	}
	var data any
	if err := json.Unmarshal([]byte(e.data), &data); err != nil {
		return err
	}
	description.one.Lock()
	defer description.one.Unlock()
	return description.doc.Components.Schemas[name].Value.VisitJSON(data)
}

// plainBytes undoes the coding of an answer that was asked for in one.
func plainBytes(t *testing.T, response *http.Response, body []byte) []byte {
	t.Helper()
	if len(body) == 0 {
		return body
	}
	var plain io.Reader = bytes.NewReader(body)
	var err error
	switch response.Header.Get("Content-Encoding") {
	case "gzip":
		plain, err = gzip.NewReader(plain)
	case "zstd":
		plain, err = zstd.NewReader(plain, zstd.WithDecoderConcurrency(1))
	}
	require.NoError(t, err)
	body, err = io.ReadAll(plain)
	require.NoError(t, err)
	return body
}

// commonHeaders mean here what they mean everywhere, or are described once for all answers.
var commonHeaders = []string{
	"X-Request-Id",
	"Content-Type", "Content-Length", "Date", "X-Content-Type-Options",
	"Content-Security-Policy", "Referrer-Policy", "X-Frame-Options", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Permissions-Policy", "X-Accel-Buffering",
}

// TestTheDescriptionHolds asks for all that is described; other tests' answers
// are held against it too.
func TestTheDescriptionHolds(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.insert("whole")
	client.run(`INSERT INTO orders SELECT 'bare', '', '', '', '', '', '', '', 1, now(), ''`)
	r := start(t, url).synced()
	loadDescription(t)
	require.Equal(t, "3.1.0", description.doc.OpenAPI)

	api := "http://" + r.api.Addr()
	for _, path := range []string{"/order/whole", "/api/v1/orders/bare", "/api/v1/orders", "/api/v1/orders?limit=1", "/api/v1/stats",
		"/api/v1/orders?limit=1&count=exact", "/api/v1/orders?count=estimate&fields=items,delivery", "/api/v1/export?fields=payment",
		"/api/v1/suggest?q=who", "/problems/unavailable", "/openapi.yaml", "/schemas/order.json", "/docs"} {
		require.Equal(t, 200, r.get(path).status, path)
	}
	require.Equal(t, 200, r.get("/api/v1/orders?customer_id=a&track_number=b&delivery_service=c&locale=d&currency=USD"+
		"&created_from=2024-05-01T10:00:00Z&created_to=2024-05-01T12:00:00.123%2B02:00&amount_min=0&amount_max=5&limit=100").status)
	require.Equal(t, 200, r.get("/api/v1/orders?currency=USD&currency=EUR&delivery_service=a&delivery_service=b&locale=a&locale=b&brand=a&brand=b&nm_id=1&nm_id=2"+
		"&status=1&status=2&email=a&email_prefix=a&phone=1&phone_prefix=1&name=a&name_prefix=a").status)
	for path, status := range map[string]int{
		"/order/unknown": 404, "/order/a,b": 400, "/api/v1/orders?limit=x": 400, "/api/v1/orders?cursor=x": 400, "/api/v1/orders?amount_min=-1": 400,
		"/api/v1/suggest": 400, "/api/v1/stats?a=b": 400, "/problems/unknown": 404, "/docs?a=b": 400, "/openapi.yaml?a": 400, "/api/v1/orders/stream?limit=1": 400,
	} {
		require.Equal(t, status, r.get(path).status, path)
		require.Equal(t, status, r.ask(http.MethodHead, api+path).status, path)
	}
	for _, path := range []string{"/api/v1/orders/whole", "/api/v1/orders", "/api/v1/orders/stream", "/api/v1/suggest?q=who", "/api/v1/stats", "/problems/internal", "/openapi.yaml", "/schemas/order.json", "/docs"} {
		require.Equal(t, 200, r.ask(http.MethodHead, api+path).status, path)
	}
	for _, path := range []string{"/order/whole", "/api/v1/orders", "/api/v1/suggest?q=who", "/problems/internal", "/openapi.yaml", "/schemas/order.json", "/docs"} {
		for _, coding := range []string{"identity", "gzip", "zstd"} {
			tag := r.get(path, "Accept-Encoding", coding).header.Get("ETag")
			again := r.get(path, "Accept-Encoding", coding, "If-None-Match", tag)
			require.Equal(t, 304, again.status, "%s %s", path, coding)
			require.Equal(t, tag, again.header.Get("ETag"))
		}
	}
	require.Equal(t, 200, r.ask(http.MethodHead, api+"/api/v1/orders").status)
	require.Equal(t, 304, r.get("/order/whole", "If-None-Match", "*").status)

	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for path, status := range map[string]int{"/api/v1/orders/whole/versions": 200, "/api/v1/orders/whole/versions/1": 200, "/api/v1/orders/whole/versions/1?against=1": 200,
			"/api/v1/orders/whole/versions/2": 404, "/api/v1/orders/whole?as_of=1999-01-01T00:00:00Z": 404, "/api/v1/orders/none/versions": 404} {
			require.Equal(t, status, r.ask(method, api+path).status, path)
		}
	}

	long := strings.Repeat("x", 65<<10) // a header has 64 KiB at most
	for _, path := range []string{"/order/whole", "/api/v1/orders", "/api/v1/orders/stream", "/api/v1/suggest?q=who", "/api/v1/stats", "/problems/internal", "/docs"} {
		require.Equal(t, 431, r.get(path, "Long", long).status, path)
	}

	// A service without parts fails at whatever it is asked.
	broken := httptest.NewServer(httpapi.New(httpapi.Options{Metrics: prometheus.NewRegistry(), Log: zap.NewNop()}))
	t.Cleanup(broken.Close)
	for _, path := range []string{"/order/whole", "/api/v1/orders/whole", "/api/v1/orders", "/api/v1/orders/stream", "/api/v1/suggest?q=who", "/api/v1/stats",
		"/api/v1/orders/whole/versions", "/api/v1/orders/whole/versions/1"} {
		require.Equal(t, 500, r.ask(http.MethodGet, broken.URL+path).status, path)
	}
}

// TestTheDescriptionWouldNotice changes an answer and expects it to be refused.
func TestTheDescriptionWouldNotice(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.insert("whole")
	r := start(t, url).synced()
	loadDescription(t)
	body := r.get("/order/whole").body
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.api.Addr()+"/order/whole", nil)
	require.NoError(t, err)
	route, parameters, err := description.router.FindRoute(request)
	require.NoError(t, err)
	refuse := func(status int, body string) {
		t.Helper()
		answer := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route},
			Status:                 status, Header: http.Header{"Content-Type": {"application/json"}},
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}
		require.Error(t, openapi3filter.ValidateResponse(t.Context(), answer.SetBodyBytes([]byte(body))))
	}
	refuse(200, strings.Replace(body, `"entry"`, `"entrance"`, 1))
	refuse(200, strings.Replace(body, `"amount":1817`, `"amount":"1817"`, 1))
	refuse(200, strings.Replace(body, `"oof_shard":`, `"more":`, 1))
	refuse(201, body)
	for kind, data := range map[string]string{
		"upsert": `{"order_uid":"whole"}`, "delete": `{"order_uid":1}`, "reset": `{"reason":"x","more":1}`, "update": body,
	} {
		require.Error(t, undescribed(event{kind: kind, data: data}), kind)
	}
}
