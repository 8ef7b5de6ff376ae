package deploytest

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// Alertmanager takes the example and routes pages and tickets, by amtool of Debian's package
// prometheus-alertmanager. What is inhibited, and by what, are alerts that there are.
func TestTheExampleOfAlertmanagerRoutesTheAlerts(t *testing.T) {
	amtool := process.NeedForTest(t, "amtool")
	file := inRepository("deploy", "alertmanager", "alertmanager.yml")
	answer := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), amtool, args...)
		var complaints strings.Builder
		cmd.Stderr = &complaints
		output, err := cmd.Output()
		require.NoError(t, err, "%s%s", output, complaints.String())
		return string(output)
	}
	answer("check-config", file)
	known := map[string]bool{}
	for _, alert := range alerts(t) {
		known[alert.Alert] = true
		to := answer("config", "routes", "test", "--config.file", file, "alertname="+alert.Alert, "severity="+alert.Labels["severity"])
		require.Equal(t, map[string]string{"page": "on-call", "ticket": "channel"}[alert.Labels["severity"]], strings.TrimSpace(to), alert.Alert)
	}
	config := readYAML[struct {
		InhibitRules []struct {
			Source []string `yaml:"source_matchers"`
			Target []string `yaml:"target_matchers"`
		} `yaml:"inhibit_rules"`
	}](t, "deploy", "alertmanager", "alertmanager.yml")
	names := regexp.MustCompile(`Orderhub\w+`)
	for _, r := range config.InhibitRules {
		sources := names.FindAllString(strings.Join(r.Source, " "), -1)
		for _, name := range append(sources, names.FindAllString(strings.Join(r.Target, " "), -1)...) {
			require.True(t, known[name], "there is no alert %s", name)
		}
		for _, name := range sources {
			require.NotContains(t, strings.Join(r.Target, " "), name, "it inhibits itself")
		}
	}
}
