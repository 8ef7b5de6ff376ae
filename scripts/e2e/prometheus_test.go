package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	devprocess "github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
)

// prometheus is a server that scrapes the services' admin ports and has our rules. Its time
// runs faster: all durations of the rules are divided by speed.
type prometheus struct {
	t     *testing.T
	addr  string
	speed int
}

// ruleDuration finds the durations of rules: of ranges, of offset, for and interval.
var ruleDuration = regexp.MustCompile(`(\[|offset |for: |interval: )(\d+)([smhd])`)

// faster divides all durations of rules, which stay as they are otherwise.
func faster(rules string, speed int) string {
	return ruleDuration.ReplaceAllStringFunc(rules, func(found string) string {
		part := ruleDuration.FindStringSubmatch(found)
		n, _ := strconv.Atoi(part[2])
		unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[part[3]]
		return fmt.Sprintf("%s%dms", part[1], (time.Duration(n) * unit / time.Duration(speed)).Milliseconds())
	})
}

func TestRulesRunFaster(t *testing.T) {
	require.Equal(t, "rate(x_rate5m[10000ms] offset 120000ms)\nfor: 2000ms", faster("rate(x_rate5m[5m] offset 1h)\nfor: 1m", 30))
}

// watch starts a Prometheus, of Debian's package prometheus, until the end of the test.
func watch(t *testing.T, speed int, services ...*process) *prometheus {
	t.Helper()
	binary := devprocess.NeedForTest(t, "prometheus")
	folder := t.TempDir()
	var files, targets []string
	for _, name := range []string{"alerts.yml", "slo.yml"} {
		rules, err := os.ReadFile(filepath.Join("..", "..", "deploy", "prometheus", name))
		require.NoError(t, err)
		files = append(files, filepath.Join(folder, name))
		require.NoError(t, os.WriteFile(files[len(files)-1], []byte(faster(string(rules), speed)), 0o600))
	}
	for _, s := range services {
		targets = append(targets, s.admin)
	}
	interval := fmt.Sprintf("%dms", 15_000/speed) // compose has 5 s and 15 s
	settings, err := yaml.Marshal(map[string]any{
		"global":         map[string]any{"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
		"rule_files":     files,
		"scrape_configs": []any{map[string]any{"job_name": "orderhub", "static_configs": []any{map[string]any{"targets": targets}}}},
	})
	require.NoError(t, err)
	file := filepath.Join(folder, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, settings, 0o600))
	port, err := ports.Free()
	require.NoError(t, err)
	p := &prometheus{t: t, addr: ports.Loopback(port), speed: speed}
	devprocess.StartForTest(t, "prometheus", func() *exec.Cmd {
		return exec.Command(binary, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(folder, "data"),
			"--web.listen-address="+p.addr, "--log.level=warn", "--query.lookback-delta=10s")
	}, func(ctx context.Context) error {
		_, err := httpget.OK(ctx, client, "http://"+p.addr+"/-/ready")
		return err
	})
	return p
}

// get reads an answer of Prometheus's API.
func (p *prometheus) get(path string, to any) error {
	_, _, body := fetch(p.t, http.MethodGet, "http://"+p.addr+path, nil)
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("%w: %s", err, body)
	}
	return json.Unmarshal(answer.Data, to)
}

// data says whether a query gives a number.
func (p *prometheus) data(query string) (bool, string) {
	var found struct{ Result []struct{ Value [2]any } }
	if err := p.get("/api/v1/query?query="+url.QueryEscape(query), &found); err != nil {
		return false, err.Error()
	}
	for _, series := range found.Result {
		text, _ := series.Value[1].(string)
		if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) {
			return true, ""
		}
	}
	return false, fmt.Sprint(found.Result)
}

// selector finds metrics with their matchers.
var selector = regexp.MustCompile(`\borderhub[_:][a-z0-9_:]+(\{[^}]*\})?`)

// Each query of each dashboard gives data, with all variables at "All", and each metric that
// a rule selects exists. Much of it exists only once something has happened.
func TestDashboardsAndRulesHaveData(t *testing.T) {
	s := newSite(t, 10*time.Minute)
	services := append(s.services(), s.bridge(), s.console())
	prom := watch(t, 60, services...)
	s.load()
	// A request that fails, and one that is refused.
	s.toReader.Refuse(true)
	s.toReader.Cut()
	s.eventually("a read fails", func() (bool, string) {
		status, _, body := s.reader.get("/order/unknown", "Cache-Control: no-cache")
		return status == http.StatusServiceUnavailable, fmt.Sprint(status, body)
	})
	s.toReader.Refuse(false)

	dashboards, err := filepath.Glob(filepath.Join("..", "..", "deploy", "grafana", "dashboards", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, dashboards)
	queries := map[string]string{} // by where they are
	for _, file := range dashboards {
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(content, &dashboard))
		variables := strings.NewReplacer("$namespace", ".*", "$service", ".*", "$topic", ".*", "$__rate_interval", "10s")
		for _, panel := range dashboard.Panels {
			for i, target := range panel.Targets {
				queries[fmt.Sprint(filepath.Base(file), ", ", panel.Title, ", ", i+1)] = variables.Replace(target.Expr)
			}
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Query string }
		}
	}
	require.NoError(t, prom.get("/api/v1/rules", &rules))
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			for _, metric := range selector.FindAllString(rule.Query, -1) {
				queries[rule.Name+" "+metric] = metric
			}
			if strings.HasPrefix(rule.Name, "orderhub:") {
				queries[rule.Name] = rule.Name
			}
		}
	}
	// All are asked again and again, since each needs its time.
	missing := map[string]string{}
	for until := time.Now().Add(2 * deadline); len(queries) > 0 && time.Now().Before(until); time.Sleep(time.Second) {
		for where, query := range queries {
			found, why := prom.data(query)
			if missing[where] = why; found {
				delete(queries, where)
			}
		}
	}
	for where, query := range queries {
		t.Errorf("%s: no data for %s: %s", where, query, missing[where])
	}
}
