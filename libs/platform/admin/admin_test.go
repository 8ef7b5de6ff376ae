package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
)

func TestServesAndStops(t *testing.T) {
	metrics := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "orderhub_test_total", Help: "A test."})
	metrics.MustRegister(counter)
	checks := health.NewRegistry()
	component := checks.Component("part")
	s := New(&config.Service{AdminAddr: "127.0.0.1:0"}, checks, metrics, zap.NewNop(), zap.NewAtomicLevel())
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
	require.Equal(t, http.StatusNotFound, status, "profiles are off")

	second := New(&config.Service{AdminAddr: s.Addr()}, checks, metrics, zap.NewNop(), zap.NewAtomicLevel())
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

func TestProfilesNeedTheSettingAndTheToken(t *testing.T) {
	ask := func(s *config.Service, authorization string) int {
		s.AdminAddr = "127.0.0.1:0"
		server := New(s, health.NewRegistry(), prometheus.NewRegistry(), zap.NewNop(), zap.NewAtomicLevel())
		require.NoError(t, server.Start(t.Context()))
		defer server.Stop()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.Addr()+"/debug/pprof/heap", nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", authorization)
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer.StatusCode
	}
	const token = "0123456789abcdef"
	require.Equal(t, http.StatusNotFound, ask(&config.Service{AdminToken: token}, "Bearer "+token))
	require.Equal(t, http.StatusOK, ask(&config.Service{AdminPprof: true}, ""))
	require.Equal(t, http.StatusUnauthorized, ask(&config.Service{AdminPprof: true, AdminToken: token}, ""))
	require.Equal(t, http.StatusUnauthorized, ask(&config.Service{AdminPprof: true, AdminToken: token}, "Bearer 0123456789abcdeg"))
	require.Equal(t, http.StatusOK, ask(&config.Service{AdminPprof: true, AdminToken: token}, "Bearer "+token))
}

func TestALargeHeaderIsRefused(t *testing.T) {
	s := New(&config.Service{AdminAddr: "127.0.0.1:0"}, health.NewRegistry(), prometheus.NewRegistry(), zap.NewNop(), zap.NewAtomicLevel())
	require.NoError(t, s.Start(t.Context()))
	defer s.Stop()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/livez", nil)
	require.NoError(t, err)
	request.Header.Set("X", strings.Repeat("x", 32<<10))
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, answer.StatusCode)
}

// The level may be read by all, and changed as profiles may be seen: by this machine, or
// with the token.
func TestTheLogsLevelChangesWhileTheProgramRuns(t *testing.T) {
	const token = "0123456789abcdef"
	for _, c := range []struct {
		addr, token, given string
		status             int
	}{
		{"127.0.0.1:0", "", "", http.StatusOK},
		{"127.0.0.1:0", token, "", http.StatusUnauthorized},
		{":0", "", "", http.StatusForbidden},
		{":0", token, "", http.StatusUnauthorized},
		{":0", token, "Bearer " + token, http.StatusOK},
	} {
		core, logged := observer.New(zap.DebugLevel)
		level := zap.NewAtomicLevel()
		s := New(&config.Service{AdminAddr: c.addr, AdminToken: config.Secret(c.token)}, health.NewRegistry(), prometheus.NewRegistry(), zap.New(core), level)
		require.NoError(t, s.Start(t.Context()))
		_, port, err := net.SplitHostPort(s.Addr())
		require.NoError(t, err)
		url := "http://127.0.0.1:" + port + "/loglevel"
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader("level=debug"))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Authorization", c.given)
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, c.status, answer.StatusCode, "%+v", c)
		want := map[bool]zapcore.Level{true: zap.DebugLevel, false: zap.InfoLevel}[c.status == http.StatusOK]
		require.Equal(t, want, level.Level())
		_, body := get(t, url)
		require.JSONEq(t, `{"level":"`+want.String()+`"}`, body)
		require.Equal(t, c.status == http.StatusOK, logged.FilterMessage("log level changed").Len() == 1)
		s.Stop()
	}
}
