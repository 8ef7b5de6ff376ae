package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
)

// documentedMetric is a row of docs/metrics.md.
type documentedMetric struct {
	kind     string
	labels   []string
	programs []string
}

func (d documentedMetric) of(program string) bool {
	return slices.Contains(d.programs, program) || slices.Contains(d.programs, "all")
}

// absentAtRest are metrics whose series are not known before something happens.
var absentAtRest = []string{"orderhub_ingest_unknown_fields_total", "orderhub_certificate_expiry_seconds"}

func documentedMetrics(t *testing.T) map[string]documentedMetric {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs", "metrics.md"))
	require.NoError(t, err)
	documented := map[string]documentedMetric{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([^|]*)\\| ([^|]*) \\|").FindAllStringSubmatch(string(text), -1) {
		var labels []string
		for _, label := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, label[1])
		}
		slices.Sort(labels)
		documented[row[1]] = documentedMetric{row[2], labels, strings.Split(row[4], ", ")}
	}
	require.NotEmpty(t, documented)
	return documented
}

// scrape reads a program's metrics in the format that accept asks for.
func scrape(t *testing.T, addr, accept string) *http.Response {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
	require.NoError(t, err)
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	return response
}

// families are a program's metrics of ours, as Prometheus reads them with native
// histograms.
func families(t *testing.T, addr string) (ours []*dto.MetricFamily) {
	t.Helper()
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	response := scrape(t, addr, string(format))
	defer func() { _ = response.Body.Close() }()
	decoder := expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header))
	for {
		family := &dto.MetricFamily{}
		err := decoder.Decode(family)
		if errors.Is(err, io.EOF) {
			return ours
		}
		require.NoError(t, err)
		if strings.HasPrefix(family.GetName(), "orderhub_") {
			ours = append(ours, family)
		}
	}
}

// requireMetrics sees that each program exports what docs/metrics.md says of it, by
// Prometheus's conventions.
func (s *site) requireMetrics(t *testing.T) {
	t.Helper()
	documented := documentedMetrics(t)
	for i, program := range []string{"worker", "API", "", "bridge"} {
		if program == "" {
			continue
		}
		addr := portAfter(s.admin, i)
		var found map[string]bool
		missing := func() (names []string) {
			for name, metric := range documented {
				if metric.of(program) && !found[name] && !slices.Contains(absentAtRest, name) {
					names = append(names, name)
				}
			}
			return names
		}
		var exported []*dto.MetricFamily
		require.Eventually(t, func() bool { // the lag is measured now and then
			found, exported = map[string]bool{}, families(t, addr)
			for _, family := range exported {
				found[family.GetName()] = true
			}
			return len(missing()) == 0
		}, patience, 100*time.Millisecond, "%s lacks metrics", program)
		require.Empty(t, missing(), program)
		problems, err := promlint.NewWithMetricFamilies(exported).Lint()
		require.NoError(t, err)
		require.Empty(t, problems, program)
		for _, family := range exported {
			requireDocumented(t, documented, program, family)
		}
		response := scrape(t, addr, "application/openmetrics-text;version=1.0.0")
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Contains(t, response.Header.Get("Content-Type"), "application/openmetrics-text")
		require.True(t, strings.HasSuffix(string(text), "# EOF\n"))
	}
}

func requireDocumented(t *testing.T, documented map[string]documentedMetric, program string, family *dto.MetricFamily) {
	t.Helper()
	name := family.GetName()
	row, is := documented[name]
	require.True(t, is, "%s exports %s, which docs/metrics.md lacks", program, name)
	require.True(t, row.of(program), "%s: %s exports it too", name, program)
	require.Equal(t, row.kind, strings.ToLower(family.GetType().String()), name)
	require.Less(t, len(family.GetMetric()), 150, "%s has series without bound", name)
	for _, series := range family.GetMetric() {
		var labels []string
		for _, label := range series.GetLabel() {
			labels = append(labels, label.GetName())
		}
		slices.Sort(labels)
		require.Equal(t, row.labels, labels, name)
		if histogram := series.GetHistogram(); histogram != nil {
			require.NotEmpty(t, histogram.GetBucket(), "%s has no classic buckets", name)
			require.NotZero(t, histogram.GetZeroThreshold(), "%s is not native", name)
		}
	}
}
