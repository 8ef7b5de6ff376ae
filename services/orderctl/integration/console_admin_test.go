package integration

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
)

// metricOf is the value of a series, which may be absent.
func metricOf(metrics, series string) (float64, bool) {
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(metrics)
	if found == nil {
		return 0, false
	}
	value, err := strconv.ParseFloat(found[1], 64)
	return value, err == nil
}

func TestConsoleIsOperated(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(2)
	w.fail(&kgo.Record{Topic: orders, Offset: 9, Value: []byte("x")}, "com.example.SomeException")
	cmd, out := w.ui("ADMIN_PPROF=true", "ADMIN_TOKEN=0123456789abcdef")
	address(t, out)
	admin := "http://" + printedAdmin.FindStringSubmatch(out.String())[1]
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(url string) (int, string) {
		response, err := client.Get(url)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(body)
	}
	requireSample := func(series string, want float64) string {
		t.Helper()
		body := ""
		require.Eventually(t, func() bool {
			_, body = ask(admin + "/metrics")
			got, there := metricOf(body, series)
			return there && got == want
		}, 20*time.Second, 20*time.Millisecond, "%s is not %v: %s", series, want, readable{&body})
		return body
	}
	body := requireSample(`orderhub_letters_open{reason="invalid"}`, float64(len(ids)))
	for _, reason := range deadletter.Reasons() {
		_, open := metricOf(body, `orderhub_letters_open{reason="`+reason+`"}`)
		_, oldest := metricOf(body, `orderhub_letters_oldest_seconds{reason="`+reason+`"}`)
		require.True(t, open && oldest, reason)
	}
	requireSample(`orderhub_letters_open{reason="other"}`, 1)
	requireSample(`orderhub_letters_oldest_seconds{reason="conflict"}`, 0)
	age, _ := metricOf(body, `orderhub_letters_oldest_seconds{reason="invalid"}`)
	require.InDelta(t, time.Since(failed).Seconds(), age, 60)
	require.Regexp(t, `orderhub_build_info\{go="go[^"]+",revision="[^"]*",service="dlq-console",version="[^"]+"\} 1`, body)
	for _, series := range []string{`orderhub_auth_refused_total{reason="scope"}`, `orderhub_auth_sign_ins_total{outcome="failed"}`, "orderhub_http_requests_in_flight", "go_goroutines", "process_open_fds"} {
		_, there := metricOf(body, series)
		require.True(t, there, series)
	}
	status, _ := ask(address(t, out) + "/letters")
	require.Equal(t, http.StatusOK, status)
	requireSample(`orderhub_http_request_duration_seconds_count{code="200",route="/letters"}`, 1)

	w.discard(7)
	requireSample(`orderhub_letters_open{reason="invalid"}`, 0)
	requireSample(`orderhub_letters_oldest_seconds{reason="invalid"}`, 0)
	for path, want := range map[string]int{"/livez": http.StatusOK, "/readyz": http.StatusOK, "/debug/pprof/": http.StatusUnauthorized} {
		status, body = ask(admin + path)
		require.Equal(t, want, status, "%s: %s", path, body)
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "%s", out)
}

func TestConsoleExpiryOfTheCertificate(t *testing.T) {
	w := newWorld(t)
	certificate, key := selfSigned(t)
	_, out := w.ui("HTTP_TLS_CERT_FILE="+certificate, "HTTP_TLS_KEY_FILE="+key)
	address(t, out)
	response, err := http.Get("http://" + printedAdmin.FindStringSubmatch(out.String())[1] + "/metrics")
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	left, _ := metricOf(string(body), "orderhub_certificate_expiry_seconds")
	require.InDelta(t, time.Hour.Seconds(), left, 120)
}

// A console is ready once it has read the letters. While the topics cannot be read it shows
// what it knows, and says so.
func TestConsoleReadiness(t *testing.T) {
	checks, metrics := health.NewRegistry(), prometheus.NewRegistry()
	status := func(handler http.Handler) (int, string) {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
		return answer.Code, answer.Body.String()
	}
	eventually := func(want int, text string) {
		t.Helper()
		body := ""
		require.Eventually(t, func() bool {
			var code int
			code, body = status(checks.Readyz())
			return code == want && strings.Contains(body, text)
		}, 20*time.Second, 10*time.Millisecond, "%s", readable{&body})
	}
	w := newWorld(t)
	consoleOn(t, w, func(o *console.Options) {
		o.Store, o.Health = dlq.New(w.client, dlq.Options{Topic: "absent"}), checks
	})
	eventually(http.StatusServiceUnavailable, "topic absent: the topic does not exist")

	w.letters(1)
	checks = health.NewRegistry()
	c := consoleOn(t, w, func(o *console.Options) { o.Health, o.Metrics = checks, metrics })
	c.person().page("/letters", "3 letters")
	eventually(http.StatusOK, `"ready":true`)
	require.NoError(t, w.broker.Stop())
	eventually(http.StatusOK, "letters as of ")
	_, body := status(promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	open, _ := metricOf(body, `orderhub_letters_open{reason="invalid"}`)
	require.EqualValues(t, 3, open, "those that were known last")
}
