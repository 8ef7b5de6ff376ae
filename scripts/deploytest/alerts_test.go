package deploytest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// placements are the labels that a scrape adds: those of compose, of a scrape by pods'
// annotations, and of a PodMonitor.
var placements = map[string]string{
	"compose":     `job="SERVICE",instance="10.0.0.2:9080"`,
	"annotations": `job="kubernetes-pods",instance="10.0.0.2:9080",namespace="shop",pod="SERVICE-5d8f-x2"`,
	"PodMonitor":  `job="shop/SERVICE",instance="10.0.0.2:9080",namespace="shop",pod="SERVICE-5d8f-x2",container="SERVICE",endpoint="admin"`,
}

// alertCase is a history, a value each minute, and what of an alert is seen in it.
type alertCase struct {
	about  string
	alert  string
	series [][2]string // name with labels, values as promtool writes them
	silent []int       // minutes in which the alert does not fire
	fires  map[int]string
	labels map[string]string // of the alert that fires
	// scraped says that the alert has the labels of the scrape, too.
	scraped bool
}

const requests = "orderhub_http_request_duration_seconds"

// Each alert fires, and is silent before and after. In the cases "born" the first event
// creates the series, which increase() does not see.
func alertCases() []alertCase {
	cases := []alertCase{
		{"one that answers, then none", "OrderhubNoWorker", [][2]string{{`orderhub_build_info{service="ingest-worker"}`, "1x9 stale"}},
			[]int{9, 11}, map[int]string{17: ""}, map[string]string{"service": "ingest-worker"}, false},
		{"none ever", "OrderhubNoWorker", [][2]string{{`orderhub_build_info{service="read-api"}`, "1x20"}},
			[]int{1}, map[int]string{3: ""}, map[string]string{"service": "ingest-worker"}, false},
		{"one that answers, then none", "OrderhubNoReader", [][2]string{{`orderhub_build_info{service="read-api"}`, "1x9 stale"}},
			[]int{9}, map[int]string{16: ""}, map[string]string{"service": "read-api"}, false},
		{"it was there an hour ago", "OrderhubBridgeGone", [][2]string{{`orderhub_build_info{service="nats-bridge"}`, "1x70 stale"}},
			[]int{60, 71, 150}, map[int]string{80: ""}, nil, false},
		{"there was never one", "OrderhubBridgeGone", [][2]string{{`orderhub_build_info{service="read-api"}`, "1x200"}}, []int{10, 100}, nil, nil, false},
		{"five minutes, not one", "OrderhubIngestBlocked",
			[][2]string{{`orderhub_ingest_blocked{cause="database"}`, "0x5 2x10 0x10"}, {`orderhub_ingest_blocked{cause="broker"}`, "0x5 1x1 0x20"}},
			[]int{8, 20}, map[int]string{14: ""}, map[string]string{"cause": "database"}, false},
		{"born", "OrderhubIngestBlocked", [][2]string{{`orderhub_ingest_blocked{cause="unknown"}`, "_x5 4x10"}},
			[]int{8}, map[int]string{13: ""}, map[string]string{"cause": "unknown"}, false},
		{"two workers that say the same are one lag", "OrderhubIngestLags",
			[][2]string{
				{`orderhub_ingest_lag_seconds{topic="orders",partition="0"}`, "0+60x30"},
				{`orderhub_ingest_lag_seconds{topic="orders",partition="0",other="worker"}`, "0+60x30"},
				{`orderhub_ingest_lag_seconds{topic="orders",partition="1"}`, "10x30"},
			}, []int{10}, map[int]string{20: "20m 0s"}, map[string]string{"topic": "orders"}, false},
		{"it falls in time", "OrderhubIngestLags", [][2]string{{`orderhub_ingest_lag_seconds{topic="orders",partition="0"}`, "400x5 10x30"}}, []int{4, 12, 30}, nil, nil, false},
		{"one in ten", "OrderhubManyDeadLetters",
			[][2]string{{`orderhub_ingest_records_total{outcome="stored"}`, "0+900x60"}, {`orderhub_ingest_records_total{outcome="dead_letter"}`, "0x10 0+100x50"}},
			[]int{9}, map[int]string{40: "10%"}, nil, false},
		{"born", "OrderhubManyDeadLetters",
			[][2]string{{`orderhub_ingest_records_total{outcome="stored"}`, "_x5 900+900x60"}, {`orderhub_ingest_records_total{outcome="dead_letter"}`, "_x5 100+100x60"}},
			[]int{9}, map[int]string{30: "10%"}, nil, false},
		{"one in a thousand, then no records", "OrderhubManyDeadLetters",
			[][2]string{{`orderhub_ingest_records_total{outcome="stored"}`, "0+999x40 39960x60"}, {`orderhub_ingest_records_total{outcome="dead_letter"}`, "0+1x40 40x60"}},
			[]int{35, 80}, nil, nil, false},
		{"five minutes", "OrderhubBridgeWaiting", [][2]string{{`orderhub_bridge_waiting`, "0x5 1x10 0x5"}}, []int{8, 18}, map[int]string{13: ""}, nil, false},
		{"born", "OrderhubBridgeWaiting", [][2]string{{`orderhub_bridge_waiting`, "_x5 1x10"}}, []int{8}, map[int]string{13: ""}, nil, false},
		{"only once it was filled", "OrderhubCacheStale",
			[][2]string{
				{`orderhub_cache_synced{}`, "1x20"}, {`orderhub_cache_staleness_seconds{}`, "0x5 30x9 0x5"},
				{`orderhub_cache_synced{other="reader"}`, "0x20"}, {`orderhub_cache_staleness_seconds{other="reader"}`, "30x20"},
			}, []int{4, 18}, map[int]string{9: "30s"}, nil, true},
		{"ten minutes", "OrderhubCacheNotRestored", [][2]string{{`orderhub_cache_synced`, "0x15 1x10"}}, []int{9, 18}, map[int]string{12: ""}, nil, true},
		{"triggers are off", "OrderhubUnseenChanges", [][2]string{{`orderhub_cache_triggers_off`, "0x5 4x5 0x5"}}, []int{4, 14}, map[int]string{8: ""}, nil, false},
		{"born", "OrderhubErrors", [][2]string{{requests + `_count{code="200"}`, "0+900x30"}, {requests + `_count{code="503"}`, "_x5 40+100x10 1040x20"}},
			[]int{4, 28}, map[int]string{14: "10%"}, nil, false},
		{"one in a thousand", "OrderhubErrors", [][2]string{{requests + `_count{code="200"}`, "0+999x30"}, {requests + `_count{code="500"}`, "0+1x30"}}, []int{20}, nil, nil, false},
		{"thirteen days", "OrderhubCertificateExpires", [][2]string{{`orderhub_certificate_expiry_seconds`, "1123200x120"}}, []int{30}, map[int]string{70: "13d 0h 0m 0s"}, nil, true},
		{"ninety days", "OrderhubCertificateExpires", [][2]string{{`orderhub_certificate_expiry_seconds`, "7776000x120"}}, []int{70}, nil, nil, true},
		{"it stays away", "OrderhubIssuerAway", [][2]string{{`orderhub_auth_key_errors_total`, "0x10 1+1x60"}}, []int{9, 20}, map[int]string{40: ""}, map[string]string{"instance": "10.0.0.2:9080"}, false},
		{"once", "OrderhubIssuerAway", [][2]string{{`orderhub_auth_key_errors_total`, "0x10 1x60"}}, []int{20, 40}, nil, nil, false},
		{"half of them are slow", "OrderhubSlow",
			[][2]string{{requests + `_bucket{route="order",le="0.01"}`, "_x3 0+50x40"}, {requests + `_bucket{route="order",le="0.1"}`, "_x3 0+100x40"}, {requests + `_bucket{route="order",le="+Inf"}`, "_x3 0+100x40"}},
			[]int{8}, map[int]string{20: "98.2ms"}, nil, false},
		{"only lists are", "OrderhubSlow",
			[][2]string{{requests + `_bucket{route="order",le="0.01"}`, "0+50x40"}, {requests + `_bucket{route="order",le="+Inf"}`, "0+50x40"}, {requests + `_bucket{route="orders",le="+Inf"}`, "0+100x40"}},
			[]int{20}, nil, nil, false},
	}
	for _, rare := range []struct {
		alert, metric string
		labels        map[string]string
		over          int // minutes after which the event is forgotten
	}{
		{"OrderhubOffsetsGone", `orderhub_ingest_offset_gap_records_total{partition="3"}`, map[string]string{"partition": "3"}, 45},
		{"OrderhubConflicts", `orderhub_dead_letters_total{reason="conflict"}`, nil, 45},
		{"OrderhubBridgeLost", `orderhub_bridge_lost_messages_total`, nil, 45},
		{"OrderhubUnseenChanges", `orderhub_cache_differences_total`, nil, 100},
	} {
		for about, values := range map[string]string{"an event": "0x20 7x100", "born": "_x20 7x100"} {
			cases = append(cases, alertCase{about, rare.alert, [][2]string{{rare.metric, values}}, []int{19, rare.over}, map[int]string{22: "7"}, rare.labels, false})
		}
		cases = append(cases, alertCase{"what was long ago", rare.alert, [][2]string{{rare.metric, "7x200"}}, []int{150}, nil, nil, false})
	}
	return cases
}

var (
	shownValue = regexp.MustCompile(`\{\{ \$value[^}]*\}\}`)
	shownLabel = regexp.MustCompile(`\{\{ \$labels\.(\w+) \}\}`)
	oneLabel   = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// TestAlertsFire runs promtool, of Debian's package prometheus, on the histories of
// alertCases at each placement.
func TestAlertsFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		const missing = "NO PROMTOOL on PATH (Debian: prometheus): the alerts' rules are not tested"
		if os.Getenv("ORDERHUB_TEST_STRICT") == "1" {
			t.Fatal(missing)
		}
		_, _ = fmt.Fprintln(os.Stderr, missing)
		t.Skip(missing)
	}
	rules, services := map[string]map[string]string{}, map[string]string{}
	severity := map[string]string{}
	for _, group := range readYAML[alertRules](t, "deploy", "prometheus", "alerts.yml").Groups {
		for _, rule := range group.Rules {
			rules[rule.Alert], severity[rule.Alert] = rule.Annotations, rule.Labels["severity"]
			services[rule.Alert] = map[string]string{"ingest": "ingest-worker", "bridge": "nats-bridge", "read": "read-api"}[group.Name]
		}
	}
	file, err := filepath.Abs(inRepository("deploy", "prometheus", "alerts.yml"))
	require.NoError(t, err)
	var tests []map[string]any
	fired := map[string]bool{}
	for placement, added := range placements {
		for _, c := range alertCases() {
			require.Contains(t, rules, c.alert)
			scrape := strings.ReplaceAll(added, "SERVICE", services[c.alert])
			var series, checks []map[string]any
			for _, s := range c.series {
				name, own, _ := strings.Cut(strings.TrimSuffix(s[0], "}"), "{")
				series = append(series, map[string]any{"series": name + "{" + strings.TrimPrefix(own+","+scrape, ",") + "}", "values": s[1]})
			}
			check := func(minute int, alerts []any) {
				checks = append(checks, map[string]any{"eval_time": fmt.Sprintf("%dm", minute), "alertname": c.alert, "exp_alerts": alerts})
			}
			for _, minute := range c.silent {
				check(minute, nil)
			}
			for minute, value := range c.fires {
				fired[c.alert] = true
				labels := map[string]string{"severity": severity[c.alert]}
				maps.Copy(labels, c.labels)
				if c.scraped {
					for _, l := range oneLabel.FindAllStringSubmatch(scrape, -1) {
						labels[l[1]] = l[2]
					}
				}
				annotations := map[string]string{}
				for name, text := range rules[c.alert] {
					text = shownValue.ReplaceAllString(text, value)
					annotations[name] = shownLabel.ReplaceAllStringFunc(text, func(l string) string { return labels[shownLabel.FindStringSubmatch(l)[1]] })
				}
				check(minute, []any{map[string]any{"exp_labels": labels, "exp_annotations": annotations}})
			}
			tests = append(tests, map[string]any{"name": c.alert + ", " + placement + ", " + c.about, "interval": "1m", "input_series": series, "alert_rule_test": checks})
		}
	}
	for alert := range rules {
		require.True(t, fired[alert], "no case in which %s fires", alert)
	}
	input, err := yaml.Marshal(map[string]any{"rule_files": []string{file}, "evaluation_interval": "1m", "tests": tests})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "alerts_test.yml")
	require.NoError(t, os.WriteFile(path, input, 0o600))
	for _, args := range [][]string{{"check", "rules", file}, {"test", "rules", path}} {
		output, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
}

// Each alert's runbook exists, answers the five questions, and names commands of
// orderctl and metrics that exist.
func TestAlertsHaveRunbooks(t *testing.T) {
	declared := declaredMetrics(t)
	const base = "https://github.com/orderhub/orderhub/blob/main/docs/runbooks/"
	runbooks, err := filepath.Glob(inRepository("docs", "runbooks", "*.md"))
	require.NoError(t, err)
	left := map[string]bool{}
	for _, path := range runbooks {
		left[filepath.Base(path)] = true
	}
	for _, group := range readYAML[alertRules](t, "deploy", "prometheus", "alerts.yml").Groups {
		for _, rule := range group.Rules {
			name := rule.Alert + ".md"
			require.Equal(t, base+name, rule.Annotations["runbook_url"])
			require.True(t, left[name], "docs/runbooks/%s is missing", name)
			delete(left, name)
			text := string(read(t, "docs", "runbooks", name))
			for _, heading := range []string{"# " + rule.Alert, "**Meaning.**", "**Who is affected.**", "**Confirm.**", "**Do first.**", "**Over when.**"} {
				require.Contains(t, text, heading, name)
			}
			requireDeclared(t, declared, name, text)
			requireCommands(t, name, text)
		}
	}
	require.Empty(t, left, "runbooks without an alert")
}

var orderctlCommand = regexp.MustCompile("(?m)(?:^|`)orderctl ((?:[a-z]+ ?)+)")

// requireCommands fails for a command of orderctl that its source does not have.
func requireCommands(t *testing.T, where, text string) {
	t.Helper()
	for _, match := range orderctlCommand.FindAllStringSubmatch(text, -1) {
		words := strings.Fields(match[1])
		for _, word := range words[:min(len(words), 1+map[bool]int{true: 1}[words[0] == "dlq"])] {
			found := false
			sources, err := filepath.Glob(inRepository("services", "orderctl", "internal", "cli", "*.go"))
			require.NoError(t, err)
			for _, source := range sources {
				code, err := os.ReadFile(source)
				require.NoError(t, err)
				found = found || regexp.MustCompile(`Use: +"`+word+`\b`).Match(code)
			}
			require.True(t, found, "%s: orderctl has no command %s", where, word)
		}
	}
}
