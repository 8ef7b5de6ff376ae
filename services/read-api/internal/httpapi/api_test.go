package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
)

const canonical = `{"order_uid":"b563feb7b2b84b6test","track_number":"WBILMTESTTRACK"}`

// fixed is a source with one order that never changes.
type fixed struct{}

func (fixed) Snapshot(_ context.Context, sink changes.Sink, _ changes.Progress) (changes.Position, error) {
	sink.Put(changes.Order{Order: &model.Order{OrderUID: "b563feb7b2b84b6test"}, Canonical: []byte(canonical)})
	sink.Put(changes.Order{Order: &model.Order{OrderUID: "large"}, Canonical: []byte(`"` + strings.Repeat("x", 2*len(lengths)) + `"`)})
	return changes.Position{}, nil
}

func (fixed) Tail(context.Context, changes.Position, changes.Sink) (changes.Round, error) {
	return changes.Round{}, nil
}

func (fixed) Check(context.Context, changes.Position, changes.Sink, changes.Sample, changes.Sink) (changes.Round, error) {
	return changes.Round{}, nil
}

func (fixed) Mark(context.Context, changes.Position, changes.Sink) (changes.Round, []string, error) {
	return changes.Round{}, nil, nil
}

func (fixed) Resume(context.Context, changes.Checkpoint, changes.Sink) (changes.Round, error) {
	return changes.Round{}, nil
}

func (fixed) Close() {}

type anyHealth struct{}

func (anyHealth) Ready(string) bool    { return false }
func (anyHealth) NotReady(string) bool { return false }

type bundle struct {
	handler *gin.Engine
	metrics *prometheus.Registry
}

// setup makes an API over a cache that is stale after maxStaleness, since
// nothing keeps it up to date, and a database that nobody reaches.
func setup(t *testing.T, maxStaleness time.Duration, store cache.StoreOptions) *bundle {
	t.Helper()
	return setupWith(t, maxStaleness, store, func(*Options) {})
}

func setupWith(t testing.TB, maxStaleness time.Duration, store cache.StoreOptions, change func(*Options)) *bundle {
	t.Helper()
	memory := cache.New(maxStaleness)
	reflector := cache.NewReflector(fixed{}, memory, cache.ReflectorOptions{Store: store, Poll: time.Hour, Health: anyHealth{}, Log: zap.NewNop()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		reflector.Run(ctx)
	}()
	require.Eventually(t, memory.HasSynced, 20*time.Second, time.Millisecond)
	cancel()
	<-done

	db, err := bundb.Open(config.Database{URL: "postgres://nobody@127.0.0.1:1/none?sslmode=disable"}, bundb.Options{MaxConns: 1})
	require.NoError(t, err)
	through := orders.NewReadThrough(db, nil)
	t.Cleanup(func() {
		through.Stop()
		require.NoError(t, db.Close())
	})
	b := &bundle{metrics: prometheus.NewRegistry()}
	options := Options{
		Orders:  orders.New(memory, through, orders.NewLists(db, memory, nil)),
		Stats:   func() Stats { return Stats{Orders: 1} },
		Metrics: b.metrics,
		Log:     zap.NewNop(),
		Access:  access.New(nil, nil, zap.NewNop()),
		Docs:    page.New(page.Options{}).Docs(OpenAPI),
		Pages:   func(r gin.IRouter) { r.GET("/boom", func(*gin.Context) { panic("secret reason") }) },
	}
	change(&options)
	b.handler = New(options)
	return b
}

type answer struct {
	status int
	header http.Header
	body   string
	id     string
}

func (b *bundle) ask(t *testing.T, method, target string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	result := w.Result() // with the header as it was when it was written
	defer func() { require.NoError(t, result.Body.Close()) }()
	// Every answer has an id of its own; the rest may be the same for two of them.
	id := result.Header.Get("X-Request-Id")
	require.NotEmpty(t, id)
	result.Header.Del("X-Request-Id")
	return answer{result.StatusCode, result.Header, w.Body.String(), id}
}

func requireProblem(t *testing.T, r answer, status int, name string) problem.Body {
	t.Helper()
	require.Equal(t, status, r.status, r.body)
	require.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
	var p problem.Body
	require.NoError(t, json.Unmarshal([]byte(r.body), &p))
	require.Equal(t, status, p.Status)
	require.Equal(t, "/problems/"+name, p.Type)
	require.NotEmpty(t, p.Title)
	require.NotEmpty(t, p.Detail)
	require.Equal(t, r.id, p.RequestID)
	return p
}

const sampleAddress = "/order/b563feb7b2b84b6test"

func TestAHitIsTheCanonicalJSON(t *testing.T) {
	for name, store := range map[string]cache.StoreOptions{"plain": {}, "compressed": {Compress: true}} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, time.Hour, store)
			for _, target := range []string{sampleAddress, "/api/v1/orders/b563feb7b2b84b6test"} {
				r := b.ask(t, "GET", target)
				require.Equal(t, 200, r.status)
				require.Equal(t, canonical, r.body)
				require.Equal(t, "application/json", r.header.Get("Content-Type"))
				require.Equal(t, strconv.Itoa(len(canonical)), r.header.Get("Content-Length"))
				require.Equal(t, cache.ETag([]byte(canonical)), r.header.Get("ETag"))
				require.Equal(t, "nosniff", r.header.Get("X-Content-Type-Options"))
				require.Empty(t, r.header.Get(stalenessHeader))
				require.Empty(t, r.header.Get("Age"))

				head := b.ask(t, "HEAD", target)
				require.Equal(t, 200, head.status)
				require.Empty(t, head.body)
				require.Equal(t, r.header, head.header)
			}
			large := b.ask(t, "GET", "/order/large")
			require.Len(t, large.body, 2*len(lengths)+2)
		})
	}
}

func TestConditionalRequests(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	etag := b.ask(t, "GET", sampleAddress).header.Get("ETag")
	for _, condition := range []string{etag, "W/" + etag, `"other", ` + etag, `"a,b" ,W/"c",` + etag, "*"} {
		for _, method := range []string{"GET", "HEAD"} {
			r := b.ask(t, method, sampleAddress, "If-None-Match", condition)
			require.Equal(t, 304, r.status, condition)
			require.Equal(t, etag, r.header.Get("ETag"))
			require.Empty(t, r.body)
		}
	}
	require.Equal(t, 304, b.ask(t, "GET", sampleAddress, "If-None-Match", `"a"`, "If-None-Match", etag).status)
	for _, condition := range []string{`"other"`, "", `"`, strings.Trim(etag, `"`), `"x` + etag[1:], "nonsense, more"} {
		require.Equal(t, 200, b.ask(t, "GET", sampleAddress, "If-None-Match", condition).status, condition)
	}
	require.Equal(t, 404, b.ask(t, "GET", "/order/nobody", "If-None-Match", "*").status)
}

func TestOddAddresses(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	requireProblem(t, b.ask(t, "GET", "/order/nobody"), 404, "order-not-found")
	for _, address := range []string{sampleAddress + "?a=b", sampleAddress + "?a", "/order/a,b?x=1", "/api/v1/stats?x", "/docs?x=1", "/problems/unavailable?x", "/openapi.yaml?%zz"} {
		requireProblem(t, b.ask(t, "GET", address), 400, "invalid-parameter")
	}
	for _, address := range []string{sampleAddress + "?", sampleAddress + "?&", "/api/v1/stats?&&"} {
		require.Equal(t, 200, b.ask(t, "GET", address).status, address)
	}
	for _, uid := range []string{"a%00b", "%ff%fe", "a%20b", "%D0%B9", "a;b", "a,b", "a'b", `%3Cscript%3E`, "a:b", strings.Repeat("x", 65), strings.Repeat("x", 60_000)} {
		requireProblem(t, b.ask(t, "GET", "/order/"+uid), 400, "invalid-order-uid")
		requireProblem(t, b.ask(t, "GET", "/api/v1/orders/"+uid), 400, "invalid-order-uid")
	}
	for _, address := range []string{"/order/", "/order", "/order/a%2Fb", "/order/a/b", "/order//", "/api/v1/orders/", "/nowhere", "/api/v2/orders"} {
		requireProblem(t, b.ask(t, "GET", address), 404, "no-such-address")
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, address := range []string{sampleAddress, "/api/v1/orders", "/api/v1/orders/stream", "/api/v1/suggest", "/api/v1/stats", "/docs", "/problems/internal"} {
			r := b.ask(t, method, address)
			require.Equal(t, "GET, HEAD", r.header.Get("Allow"), method)
			requireProblem(t, r, 405, "method-not-allowed")
		}
	}
}

func TestAProblemsTypeIsExplained(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	page, err := os.ReadFile("../../../../docs/api.md")
	require.NoError(t, err)
	for _, k := range kinds {
		require.Contains(t, string(page), "| `"+problem.Path+k.Name+"` | "+strconv.Itoa(k.Code.HTTPStatus())+" |")
		r := b.ask(t, "GET", problem.Path+k.Name)
		require.Equal(t, 200, r.status)
		require.Contains(t, r.body, k.Meaning)
	}
	requireProblem(t, b.ask(t, "GET", problem.Path+"other"), 404, "no-such-address")
}

func TestWithTheDatabaseAway(t *testing.T) {
	b := setup(t, time.Nanosecond, cache.StoreOptions{}) // stale at once

	hit := b.ask(t, "GET", sampleAddress)
	require.Equal(t, 200, hit.status)
	require.Equal(t, canonical, hit.body)
	staleness, err := strconv.ParseFloat(hit.header.Get(stalenessHeader), 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, staleness, 0.0)
	age, err := strconv.Atoi(hit.header.Get("Age"))
	require.NoError(t, err)
	require.Equal(t, int(staleness), age)
	require.NotEmpty(t, b.ask(t, "GET", sampleAddress, "If-None-Match", "*").header.Get(stalenessHeader))

	for _, r := range []answer{
		b.ask(t, "GET", "/order/nobody"),
		b.ask(t, "GET", sampleAddress, "Cache-Control", "max-age=0, No-Cache"),
		b.ask(t, "GET", "/api/v1/orders"),
		b.ask(t, "GET", "/api/v1/suggest?q=b563"),
	} {
		require.NotEmpty(t, r.header.Get("Retry-After"))
		p := requireProblem(t, r, 503, "unavailable")
		require.NotContains(t, p.Detail, "127.0.0.1", "where the database is, is nothing to tell strangers")
	}
}

func TestAPanicTellsNothing(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	p := requireProblem(t, b.ask(t, "GET", "/boom"), 500, "internal")
	require.NotContains(t, p.Detail, "secret")
}

// discard is a ResponseWriter that makes no garbage.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func TestWhatMemoryKnowsAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	guard, err := auth.New(auth.Settings{}, auth.Options{Addr: "127.0.0.1:0"})
	require.NoError(t, err)
	b := setupWith(t, time.Hour, cache.StoreOptions{}, func(o *Options) { o.Before = []gin.HandlerFunc{guard.CheckHost()} })
	etag := cache.ETag([]byte(canonical))
	requireProblem(t, b.ask(t, "GET", sampleAddress), 421, "wrong-host")
	w := &discard{header: http.Header{}}
	for name, one := range map[string]struct {
		address string
		header  http.Header
	}{
		"200": {sampleAddress, nil}, "304": {sampleAddress, http.Header{"If-None-Match": {etag}}}, "404": {"/order/nobody", nil},
		"200 of a browser": {sampleAddress, http.Header{"Accept-Encoding": {"gzip, deflate, br, zstd"}, "Cache-Control": {"max-age=0"}}},
	} {
		r := httptest.NewRequest(http.MethodGet, one.address, nil)
		r.Header, r.Host = one.header, "127.0.0.1:8081"
		r = r.WithContext(ConnContext(t.Context(), nil))
		b.handler.ServeHTTP(w, r)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			clear(w.header) // each request has an id of its own
			b.handler.ServeHTTP(w, r)
		}), name)
	}
}
