package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestRequestsAreMeasuredByRouteAndCountedInFlight(t *testing.T) {
	registry := prometheus.NewRegistry()
	durations := NewDurations(registry)
	inFlight := func(want int) {
		t.Helper()
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader("# HELP orderhub_http_requests_in_flight Requests that are being answered, without streams.\n"+
			"# TYPE orderhub_http_requests_in_flight gauge\norderhub_http_requests_in_flight "+string(rune('0'+want))+"\n"), "orderhub_http_requests_in_flight"))
	}
	engine := NewEngine(EngineOptions{First: []gin.HandlerFunc{durations.Measure}})
	Get(engine, "/one/:id", func(*gin.Context) { inFlight(1) })
	Get(engine, "/panics", func(*gin.Context) { panic("!") })
	Get(engine, "/cut", func(*gin.Context) { panic(http.ErrAbortHandler) })
	Get(engine, "/stream", func(*gin.Context) { inFlight(0) })
	durations.Add("/one/:id", "one")
	durations.Add("/panics", "panics")
	durations.Add("/cut", "cut")
	ask := func(path string) {
		defer func() { _ = recover() }() // as net/http does
		engine.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	for _, path := range []string{"/one/1", "/one/2", "/panics", "/cut", "/stream", "/absent"} {
		ask(path)
		inFlight(0)
	}
	counts := map[string]uint64{}
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				counts[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = h.GetSampleCount()
			}
		}
	}
	want := map[string]uint64{"none 404": 1}
	for _, route := range []string{"one", "panics", "cut"} {
		want[route+" 200"], want[route+" 500"], want[route+" 503"] = 0, 0, 0 // there before the first one
	}
	want["one 200"], want["panics 500"] = 2, 1
	require.Equal(t, want, counts, "and no half answer, and no stream")
}
