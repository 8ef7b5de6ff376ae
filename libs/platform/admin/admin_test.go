package admin

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
)

func TestServesAndStops(t *testing.T) {
	metrics := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "orderhub_test_total", Help: "A test."})
	metrics.MustRegister(counter)
	checks := health.NewRegistry()
	component := checks.Component("part")
	s := New("127.0.0.1:0", checks, metrics, zap.NewNop())
	require.NoError(t, s.Start(context.Background()))
	base := "http://" + s.Addr()

	status, _ := get(t, base+"/livez")
	require.Equal(t, http.StatusOK, status)
	status, body := get(t, base+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, `"name":"part"`)
	component.Ready("")
	status, _ = get(t, base+"/readyz")
	require.Equal(t, http.StatusOK, status)
	_, body = get(t, base+"/metrics")
	require.Contains(t, body, "orderhub_test_total 0")
	status, _ = get(t, base+"/debug/pprof/")
	require.Equal(t, http.StatusOK, status)

	second := New(s.Addr(), checks, metrics, zap.NewNop())
	require.ErrorContains(t, second.Start(context.Background()), "ADMIN_ADDR")

	s.Stop()
	answer, err := http.Get(base + "/livez")
	require.Error(t, err)
	if answer != nil {
		_ = answer.Body.Close()
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	answer, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}
