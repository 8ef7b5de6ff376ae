package deploytest

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var metricName = regexp.MustCompile(`\borderhub_[a-z_]+`)

// declaredMetrics are the names in the services' and libs' code that stand beside a
// text which explains them.
func declaredMetrics(t *testing.T) map[string]bool {
	t.Helper()
	declared := map[string]bool{}
	for _, folder := range []string{"services", "libs"} {
		err := filepath.WalkDir(inRepository(folder), func(name string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				var within []ast.Expr
				switch n := n.(type) {
				case *ast.CompositeLit:
					within = n.Elts
				case *ast.CallExpr:
					within = n.Args
				}
				texts := strings.Join(literals(within), "\n")
				if metric, _, _ := strings.Cut(texts, "\n"); strings.Contains(texts, " ") && metric != "" && metricName.FindString(metric) == metric {
					declared[metric] = true
				}
				return true
			})
			return nil
		})
		require.NoError(t, err)
	}
	require.NotEmpty(t, declared)
	return declared
}

// literals are the strings among expressions, and among those with keys.
func literals(within []ast.Expr) (texts []string) {
	for _, expression := range within {
		if pair, ok := expression.(*ast.KeyValueExpr); ok {
			expression = pair.Value
		}
		if literal, ok := expression.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

// requireDeclared fails for a metric that the code doesn't have.
func requireDeclared(t *testing.T, declared map[string]bool, where, expression string) {
	t.Helper()
	for _, name := range metricName.FindAllString(expression, -1) {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix) // of a histogram
		}
		require.True(t, declared[name] || declared[base], "%s: there is no metric %s", where, name)
	}
}

// ruleFiles are Prometheus's, as its configuration lists them.
var ruleFiles = []string{"alerts.yml", "slo.yml"}

// rule is an alert, or what is recorded.
type rule struct {
	group               string
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

// rules of all files. Alerts are those with a name.
func rules(t *testing.T) (all []rule) {
	t.Helper()
	for _, file := range ruleFiles {
		for _, group := range readYAML[struct {
			Groups []struct {
				Name  string
				Rules []rule
			}
		}](t, "deploy", "prometheus", file).Groups {
			for _, r := range group.Rules {
				r.group = group.Name
				all = append(all, r)
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

func alerts(t *testing.T) []rule {
	t.Helper()
	return slices.DeleteFunc(rules(t), func(r rule) bool { return r.Alert == "" })
}

func TestRulesSpeakOfMetricsThatExist(t *testing.T) {
	configured := readYAML[struct {
		RuleFiles []string `yaml:"rule_files"`
	}](t, "deploy", "prometheus", "prometheus.yml")
	require.Equal(t, ruleFiles, configured.RuleFiles)
	declared := declaredMetrics(t)
	for _, r := range rules(t) {
		requireDeclared(t, declared, r.Alert+r.Record, r.Expr)
		require.NotRegexp(t, `\bjob\b`, r.Expr, "the names of jobs are the operator's")
	}
	for _, r := range alerts(t) {
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.Contains(t, []string{"page", "ticket"}, r.Labels["severity"], r.Alert)
	}
}

// jobsScraped are Prometheus's jobs, with the ports they ask.
func jobsScraped(t *testing.T) map[string]string {
	t.Helper()
	scraped := map[string]string{}
	for _, job := range readYAML[struct {
		ScrapeConfigs []struct {
			JobName string `yaml:"job_name"`
			DNS     []struct {
				Names []string
				Port  string
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}](t, "deploy", "prometheus", "prometheus.yml").ScrapeConfigs {
		require.Equal(t, []string{job.JobName}, job.DNS[0].Names, "a job is named after the service it asks")
		scraped[job.JobName] = job.DNS[0].Port
	}
	return scraped
}

func TestPrometheusAsksTheAdminPorts(t *testing.T) {
	require.Equal(t, map[string]string{
		"console":       strings.TrimPrefix(*compose(t).Services["console"].Environment["ADMIN_ADDR"], ":"),
		"ingest-worker": listens(t, "ingest-worker", "ADMIN_ADDR"),
		"nats-bridge":   listens(t, "nats-bridge", "ADMIN_ADDR"),
		"read-api":      listens(t, "read-api", "ADMIN_ADDR"),
	}, jobsScraped(t))
}

// The dashboards show metrics that exist, of the Prometheus and the namespace that one chooses.
func TestDashboardsShowMetricsThatExist(t *testing.T) {
	files, err := filepath.Glob(inRepository("deploy", "grafana", "dashboards", "*.json"))
	require.NoError(t, err)
	declared, uids := declaredMetrics(t), map[string]bool{}
	for _, file := range files {
		type source struct{ UID string }
		var dashboard struct {
			UID, Title string
			Tags       []string
			Templating struct {
				List []struct {
					Name, AllValue string
					Datasource     source
				}
			}
			Panels []struct {
				ID          int
				Title, Type string
				Datasource  source
				GridPos     struct{ W, X, Y int }
				Targets     []struct{ RefID, Expr string }
			}
		}
		name := filepath.Base(file)
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(content, &dashboard), name)
		require.False(t, uids[dashboard.UID], name)
		uids[dashboard.UID] = true
		require.Equal(t, []string{"orderhub"}, dashboard.Tags, "the dashboards link to each other by it")
		known := map[string]bool{"__rate_interval": true}
		for _, variable := range dashboard.Templating.List {
			known[variable.Name] = true
			if variable.Name != "datasource" {
				require.Equal(t, ".*", variable.AllValue, "%s, $%s: in compose there is no such label", name, variable.Name)
			}
		}
		require.True(t, known["datasource"] && known["namespace"], name)
		panels, places := map[int]bool{}, map[[2]int]bool{}
		for _, panel := range dashboard.Panels {
			where := name + ", " + panel.Title
			require.False(t, panels[panel.ID], where)
			panels[panel.ID] = true
			place := [2]int{panel.GridPos.X, panel.GridPos.Y}
			require.False(t, places[place], where)
			require.LessOrEqual(t, panel.GridPos.X+panel.GridPos.W, 24, where)
			places[place] = true
			if panel.Type == "row" {
				continue
			}
			require.Equal(t, "${datasource}", panel.Datasource.UID, where)
			require.NotEmpty(t, panel.Targets, where)
			for _, target := range panel.Targets {
				requireDeclared(t, declared, where, target.Expr)
				for _, variable := range variableName.FindAllStringSubmatch(target.Expr, -1) {
					require.True(t, known[variable[1]], "%s: there is no variable %s", where, variable[1])
				}
				if !strings.Contains(target.Expr, "ALERTS") {
					require.Contains(t, target.Expr, `namespace=~"$namespace"`, where)
				}
			}
		}
	}
	require.True(t, uids["orderhub"], "the overview, where people begin")
}

var variableName = regexp.MustCompile(`\$(\w+)`)

// docs/metrics.md lists each metric of the programs once, and no other.
func TestDocumentsListTheMetrics(t *testing.T) {
	listed := map[string]bool{}
	for name := range listedMetrics(t) {
		listed[name] = true
	}
	require.Equal(t, declaredMetrics(t), listed)
}

// listedMetrics are those of docs/metrics.md, with the programs that have them.
func listedMetrics(t *testing.T) map[string]string {
	t.Helper()
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(orderhub_[a-z_]+)` \\| (?:gauge|counter|histogram) \\| [^|]*\\| ([^|]+) \\|").FindAllSubmatch(read(t, "docs", "metrics.md"), -1) {
		require.NotContains(t, listed, string(row[1]), "listed twice")
		listed[string(row[1])] = string(row[2])
	}
	return listed
}

// The console exports what is listed for it, also while it cannot read the letters.
func TestTheConsoleExportsWhatIsListed(t *testing.T) {
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	cmd := exec.Command(build(t, "orderctl").program(), "dlq", "ui")
	cmd.Dir, cmd.Stderr = dir, log
	cmd.Env = []string{"KAFKA_BROKERS=127.0.0.1:1", "LETTERS_WEBHOOK_URL=http://127.0.0.1:1", "HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "ORDERHUB_AUDIT_FILE=" + filepath.Join(dir, "audit.jsonl")}
	require.NoError(t, cmd.Start())
	defer func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait())
	}()
	get := func(port, path string) string {
		var text []byte
		require.Eventually(t, func() bool {
			logged, err := os.ReadFile(log.Name())
			require.NoError(t, err)
			found := regexp.MustCompile(port).FindSubmatch(logged)
			if found == nil {
				return false
			}
			response, err := http.Get("http://" + string(found[1]) + path)
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			text, err = io.ReadAll(response.Body)
			return err == nil && response.StatusCode == http.StatusOK
		}, time.Minute, 20*time.Millisecond, port)
		return string(text)
	}
	require.NotEmpty(t, get(`console for \S+ http://(\S+)`, "/login")) // a histogram appears with its first request
	exported, listed := map[string]bool{}, map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (orderhub_[a-z_]+) `).FindAllStringSubmatch(get(`"server":"admin port","addr":"([^"]+)"`, "/metrics"), -1) {
		exported[line[1]] = true
	}
	for name, of := range listedMetrics(t) {
		// There is no certificate here.
		if (of == "all" || strings.Contains(of, "console")) && name != "orderhub_certificate_expiry_seconds" {
			listed[name] = true
		}
	}
	require.Equal(t, listed, exported)
}
