package deploytest

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// matcherForm is a label, an operator and a quoted value, as Alertmanager parses them.
var matcherForm = regexp.MustCompile(`^(\w+)(=|!=|=~|!~)"([^"]*)"$`)

// The example routes pages and tickets to receivers that it has, and inhibits alerts that
// there are, each by another one.
func TestTheExampleOfAlertmanagerRoutesTheAlerts(t *testing.T) {
	type route struct {
		Receiver string
		Matchers []string
		Routes   []route
	}
	config := readYAML[struct {
		Route        route
		InhibitRules []struct {
			Source []string `yaml:"source_matchers"`
			Target []string `yaml:"target_matchers"`
		} `yaml:"inhibit_rules"`
		Receivers []struct {
			Name  string
			Where map[string]any `yaml:",inline"`
		}
	}](t, "deploy", "alertmanager", "alertmanager.yml")
	receivers := map[string]bool{}
	for _, receiver := range config.Receivers {
		require.NotEmpty(t, receiver.Where, receiver.Name)
		receivers[receiver.Name] = true
	}
	labels := func(r rule) map[string]string {
		return map[string]string{"alertname": r.Alert, "severity": r.Labels["severity"]}
	}
	matches := func(matchers []string, of map[string]string) bool {
		for _, text := range matchers {
			m := matcherForm.FindStringSubmatch(text)
			require.NotNil(t, m, text)
			value := regexp.MustCompile("^(?:" + m[3] + ")$")
			equal := of[m[1]] == m[3] || (m[2][len(m[2])-1] == '~' && value.MatchString(of[m[1]]))
			if equal == (m[2][0] == '!') {
				return false
			}
		}
		return true
	}
	require.True(t, receivers[config.Route.Receiver])
	for _, alert := range alerts(t) {
		to := config.Route.Receiver
		for _, r := range config.Route.Routes {
			require.True(t, receivers[r.Receiver], r.Receiver)
			if matches(r.Matchers, labels(alert)) {
				to = r.Receiver
				break
			}
		}
		require.Equal(t, map[string]string{"page": "on-call", "ticket": "channel"}[alert.Labels["severity"]], to, alert.Alert)
	}
	for _, r := range config.InhibitRules {
		sources, targets := map[string]bool{}, map[string]bool{}
		for _, alert := range alerts(t) {
			if matches(r.Source, labels(alert)) {
				sources[alert.Alert] = true
			}
			if matches(r.Target, labels(alert)) {
				targets[alert.Alert] = true
				require.False(t, sources[alert.Alert], "%s inhibits itself", alert.Alert)
			}
		}
		for _, text := range append(r.Source, r.Target...) {
			for _, name := range regexp.MustCompile(`Orderhub\w+`).FindAllString(text, -1) {
				require.True(t, sources[name] || targets[name], "there is no alert %s", name)
			}
		}
	}
}
