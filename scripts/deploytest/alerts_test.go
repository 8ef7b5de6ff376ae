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

	"github.com/orderhub/orderhub/scripts/devstack/process"
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
	series [][2]string // name with labels, values as promtool writes them; console: means of another instance
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
		{"a day", "OrderhubLettersOld",
			[][2]string{{`orderhub_letters_oldest_seconds{reason="conflict"}`, "86000+60x60 0x20"}, {`orderhub_letters_oldest_seconds{reason="bad_json"}`, "0x80"}},
			[]int{6, 20, 65}, map[int]string{30: "1d 0h 23m 20s"}, map[string]string{"reason": "conflict"}, false},
		{"born", "OrderhubLettersOld", [][2]string{{`orderhub_letters_oldest_seconds{reason="conflict"}`, "_x5 172800x30"}},
			[]int{5, 18}, map[int]string{25: "2d 0h 0m 0s"}, map[string]string{"reason": "conflict"}, false},
		{"five minutes", "OrderhubBridgeWaiting", [][2]string{{`orderhub_bridge_waiting`, "0x5 1x10 0x5"}}, []int{8, 18}, map[int]string{13: ""}, nil, false},
		{"born", "OrderhubBridgeWaiting", [][2]string{{`orderhub_bridge_waiting`, "_x5 1x10"}}, []int{8}, map[int]string{13: ""}, nil, false},
		{"only once it was filled", "OrderhubCacheStale",
			[][2]string{
				{`orderhub_cache_synced{}`, "1x20"}, {`orderhub_cache_staleness_seconds{}`, "0x5 30x9 0x5"},
				{`orderhub_cache_synced{other="reader"}`, "0x20"}, {`orderhub_cache_staleness_seconds{other="reader"}`, "30x20"},
			}, []int{4, 18}, map[int]string{9: "30s"}, nil, true},
		{"ten minutes", "OrderhubCacheNotRestored", [][2]string{{`orderhub_cache_synced`, "0x15 1x10"}}, []int{9, 18}, map[int]string{12: ""}, nil, true},
		{"triggers are off", "OrderhubUnseenChanges", [][2]string{{`orderhub_cache_triggers_off`, "0x5 4x5 0x5"}}, []int{4, 14}, map[int]string{8: ""}, nil, false},
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
		window        int // minutes for which the event counts
	}{
		{"OrderhubOffsetsGone", `orderhub_ingest_offset_gap_records_total{partition="3"}`, map[string]string{"partition": "3"}, 15},
		{"OrderhubConflicts", `orderhub_dead_letters_total{reason="conflict"}`, nil, 15},
		{"OrderhubBridgeLost", `orderhub_bridge_lost_messages_total`, nil, 15},
		{"OrderhubUnseenChanges", `orderhub_cache_differences_total`, nil, 60},
	} {
		for about, values := range map[string]string{"an event": "0x20 7x100", "born": "_x20 7x100"} {
			cases = append(cases, alertCase{about, rare.alert, [][2]string{{rare.metric, values}}, []int{19, 30 + rare.window}, map[int]string{22: "7"}, rare.labels, false})
		}
		cases = append(cases, alertCase{"once, as the process is restarted", rare.alert, [][2]string{{rare.metric, "0x20 stale 7x100"}},
			[]int{21 + rare.window, 30 + rare.window}, map[int]string{23: "7"}, rare.labels, false})
		cases = append(cases, alertCase{"what was long ago", rare.alert, [][2]string{{rare.metric, "7x200"}}, []int{150}, nil, nil, false})
	}
	return append(cases, objectiveCases()...)
}

// span is a time in which so many of so many events are bad each minute.
type span struct{ minutes, events, bad int }

// history is the three counters of spans, as promtool writes them.
func history(spans ...span) (events, bad, good string) {
	var sum, sumBad int
	for _, s := range spans {
		for range s.minutes {
			sum, sumBad = sum+s.events, sumBad+s.bad
			events += fmt.Sprint(" ", sum)
			bad += fmt.Sprint(" ", sumBad)
			good += fmt.Sprint(" ", sum-sumBad)
		}
	}
	return events, bad, good
}

// objectiveCases are of both objectives. The budget of the second is ten times as large.
func objectiveCases() (cases []alertCase) {
	const build = `orderhub_build_info{service="%s"}`
	worker, reader := [2]string{fmt.Sprintf(build, "ingest-worker"), "1x400"}, [2]string{fmt.Sprintf(build, "read-api"), "1x400"}
	reads := func(before string, spans ...span) [][2]string {
		_, bad, good := history(spans...)
		return [][2]string{worker, reader, {requests + `_count{code="200"}`, before + good}, {requests + `_count{code="503"}`, before + bad}}
	}
	orders := func(before string, spans ...span) [][2]string {
		const age = "orderhub_ingest_stored_age_seconds"
		events, _, good := history(spans...)
		return [][2]string{worker, reader, {age + `_count`, before + events}, {age + `_bucket{le="0.7"}`, before + good}}
	}
	visible := func(spans ...span) [][2]string {
		const from = `orderhub_cache_visible_seconds_%s{from="commit"%s}`
		events, _, good := history(spans...)
		return append(orders("", span{100, 1000, 0}), [2]string{fmt.Sprintf(from, "count", ""), events}, [2]string{fmt.Sprintf(from, "bucket", `,le="0.256"`), good})
	}
	for _, o := range []struct {
		page, ticket string
		factor       int
		of           func(before string, spans ...span) [][2]string
		eight, four  string // per mille of the events, times the factor
	}{
		{"OrderhubErrors", "OrderhubErrorBudget", 1, reads, "0.8%", "0.4%"},
		{"OrderhubLate", "OrderhubFreshnessBudget", 10, orders, "8%", "4%"},
	} {
		cases = append(cases,
			alertCase{"most of them for twenty minutes", o.page, o.of("", span{20, 1000, 600}, span{60, 1000, 0}), []int{1, 55}, map[int]string{10: "60%"}, nil, false},
			alertCase{"born", o.page, o.of("_x5", span{60, 1000, 600}), []int{5}, map[int]string{15: "60%"}, nil, false},
			alertCase{"few, but for hours", o.page, o.of("", span{100, 1000, 8 * o.factor}), nil, map[int]string{60: o.eight}, nil, false},
			alertCase{"fewer", o.page, o.of("", span{100, 1000, 4 * o.factor}), []int{10, 60}, nil, nil, false},
			alertCase{"one in a quiet hour", o.page, o.of("", span{60, 1, 0}, span{1, 1, 1}, span{20, 1, 0}), []int{63, 70}, nil, nil, false},
			alertCase{"fewer", o.ticket, o.of("", span{60, 1000, 4 * o.factor}, span{200, 3000, 0}), []int{5, 210}, map[int]string{40: o.four}, nil, false},
			alertCase{"born", o.ticket, o.of("_x5", span{100, 1000, 4 * o.factor}), []int{5}, map[int]string{45: o.four}, nil, false},
			alertCase{"as many as the budget allows in half a month", o.ticket, o.of("", span{100, 2000, o.factor}), []int{40, 60}, nil, nil, false},
		)
	}
	blocked := [2]string{`orderhub_ingest_blocked{cause="database"}`, "1x20 0x100"}
	return append(cases,
		alertCase{"stored in time, but visible late", "OrderhubLate", visible(span{40, 100, 60}), []int{1}, map[int]string{20: "60%"}, nil, false},
		alertCase{"of requests to the console", "OrderhubErrors", append(reads("", span{40, 1000, 0}),
			[2]string{"console:" + requests + `_count{code="502"}`, "0+500x40"}), []int{20}, nil, nil, false},
		alertCase{"another page says why, and so it is for half an hour after it", "OrderhubLate",
			append(orders("", span{90, 1000, 600}), blocked), []int{15, 25, 49}, map[int]string{55: "60%"}, nil, false})
}

var (
	shownValue = regexp.MustCompile(`\{\{ \$value[^}]*\}\}`)
	shownLabel = regexp.MustCompile(`\{\{ \$labels\.(\w+) \}\}`)
	oneLabel   = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// TestAlertsFire runs promtool, of Debian's package prometheus, on the histories of
// alertCases at each placement.
func TestAlertsFire(t *testing.T) {
	promtool := process.NeedForTest(t, "promtool")
	known := map[string]rule{}
	for _, r := range alerts(t) {
		known[r.Alert] = r
	}
	var files []string
	for _, name := range ruleFiles {
		file, err := filepath.Abs(inRepository("deploy", "prometheus", name))
		require.NoError(t, err)
		files = append(files, file)
	}
	tests := map[bool][]map[string]any{} // by whether the rules of alerts.yml suffice
	fired := map[string]bool{}
	for placement, added := range placements {
		for _, c := range alertCases() {
			require.Contains(t, known, c.alert)
			rule := known[c.alert]
			scrape := strings.ReplaceAll(added, "SERVICE", map[string]string{"ingest": "ingest-worker", "bridge": "nats-bridge", "read": "read-api"}[rule.group])
			var series, checks []map[string]any
			for _, s := range c.series {
				name, own, _ := strings.Cut(strings.TrimSuffix(s[0], "}"), "{")
				labels := strings.TrimPrefix(own+","+scrape, ",")
				if of, another := strings.CutPrefix(name, "console:"); another {
					name, labels = of, strings.Replace(labels, "10.0.0.2", "10.0.0.3", 1)
				}
				series = append(series, map[string]any{"series": name + "{" + labels + "}", "values": s[1]})
			}
			check := func(minute int, alerts []any) {
				checks = append(checks, map[string]any{"eval_time": fmt.Sprintf("%dm", minute), "alertname": c.alert, "exp_alerts": alerts})
			}
			for _, minute := range c.silent {
				check(minute, nil)
			}
			for minute, value := range c.fires {
				fired[c.alert] = true
				labels := map[string]string{"severity": rule.Labels["severity"]}
				maps.Copy(labels, c.labels)
				for _, l := range oneLabel.FindAllStringSubmatch(scrape, -1) {
					if c.scraped || (l[1] == "namespace" && strings.Contains(rule.Expr, "orderhub:")) {
						labels[l[1]] = l[2]
					}
				}
				annotations := map[string]string{}
				for name, text := range rule.Annotations {
					text = shownValue.ReplaceAllString(text, value)
					annotations[name] = shownLabel.ReplaceAllStringFunc(text, func(l string) string { return labels[shownLabel.FindStringSubmatch(l)[1]] })
				}
				check(minute, []any{map[string]any{"exp_labels": labels, "exp_annotations": annotations}})
			}
			alone := !strings.Contains(rule.Expr, "orderhub:")
			tests[alone] = append(tests[alone], map[string]any{"name": c.alert + ", " + placement + ", " + c.about, "interval": "1m", "input_series": series, "alert_rule_test": checks})
		}
	}
	for alert := range known {
		require.True(t, fired[alert], "no case in which %s fires", alert)
	}
	commands := [][]string{append([]string{"check", "rules"}, files...)}
	for alone, cases := range tests {
		needed := files
		if alone {
			needed = files[:1]
		}
		input, err := yaml.Marshal(map[string]any{"rule_files": needed, "evaluation_interval": "1m", "tests": cases})
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), fmt.Sprint(alone, ".yml"))
		require.NoError(t, os.WriteFile(path, input, 0o600))
		commands = append(commands, []string{"test", "rules", path})
	}
	for _, args := range commands {
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
	for _, rule := range alerts(t) {
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
	require.Empty(t, left, "runbooks without an alert")
}

var (
	orderctlCommand = regexp.MustCompile("(?m)(?:^|`)orderctl ((?:[a-z]+ ?)+)")
	makeCommand     = regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")
	sqlFunction     = regexp.MustCompile(`SELECT (\w+)\(`)
)

// requireCommands fails for a command of orderctl, a target of make or a function of the
// database that does not exist.
func requireCommands(t *testing.T, where, text string) {
	t.Helper()
	for _, match := range makeCommand.FindAllStringSubmatch(text, -1) {
		require.Contains(t, string(read(t, "Makefile")), "\n"+match[1]+":", "%s: make has no target %s", where, match[1])
	}
	for _, match := range sqlFunction.FindAllStringSubmatch(text, -1) {
		sources, err := filepath.Glob(inRepository("migrations", "sql", "*.sql"))
		require.NoError(t, err)
		found := strings.HasPrefix(match[1], "pg_") // PostgreSQL's own
		for _, source := range sources {
			code, err := os.ReadFile(source)
			require.NoError(t, err)
			found = found || strings.Contains(string(code), "FUNCTION "+match[1]+"(")
		}
		require.True(t, found, "%s: there is no function %s", where, match[1])
	}
	for _, match := range orderctlCommand.FindAllStringSubmatch(text, -1) {
		words := strings.Fields(match[1])
		if words = words[:min(len(words), 2)]; words[0] != "dlq" && words[0] != "token" {
			words = words[:1]
		}
		// Each command's help has a golden file.
		help := inRepository("services", "orderctl", "internal", "cli", "testdata", "help_orderctl_"+strings.Join(words, "_")+".golden")
		require.FileExists(t, help, "%s: orderctl has no command %s", where, match[1])
	}
}
