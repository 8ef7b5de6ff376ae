package deploytest

import (
	"errors"
	"maps"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// settingLine is a line of the table that each program prints with --help.
var settingLine = regexp.MustCompile(`(?m)^  ([A-Z][A-Z0-9_]+)  `)

// everyone are variables that every Go program heeds.
var everyone = []string{"GOMEMLIMIT"}

// settings returns the names of the variables that a target's program reads,
// called with these arguments.
func settings(t *testing.T, target string, arguments ...string) []string {
	t.Helper()
	output, err := exec.Command(build(t, target).program(), append(slices.Clone(arguments), "--help")...).CombinedOutput()
	require.NoError(t, err, "%s %v --help:\n%s", target, arguments, output)
	names := slices.Clone(everyone)
	for _, match := range settingLine.FindAllSubmatch(output, -1) {
		names = append(names, string(match[1]))
	}
	require.Greater(t, len(names), len(everyone), "no settings in the help of %s %v:\n%s", target, arguments, output)
	return names
}

// requireKnown fails for a variable that the program doesn't read: a typing
// error in a file of deployment is silent otherwise.
func requireKnown[V any](t *testing.T, where, target string, arguments []string, environment map[string]V) {
	t.Helper()
	known := settings(t, target, arguments...)
	for name := range environment {
		require.Contains(t, known, name, "%s sets a variable that %s doesn't read", where, target)
	}
}

// requireAccepted fails where a service refuses its settings. Whether it's ready
// is not asked: it doesn't run.
func requireAccepted(t *testing.T, where, target string, environment map[string]string) {
	t.Helper()
	i := build(t, target)
	all := maps.Clone(i.env)
	maps.Copy(all, environment)
	cmd := exec.Command(i.program(), "--healthcheck")
	cmd.Dir = t.TempDir() // without a .env
	cmd.Env = []string{"PATH=/nowhere"}
	for name, value := range all {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		require.NotEqual(t, 2, exit.ExitCode(), "%s: %s", where, output)
		return
	}
	require.NoError(t, err)
}

// listens is the port on which an image's service listens for a variable.
func listens(t *testing.T, target, variable string) string {
	t.Helper()
	addr := build(t, target).env[variable]
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err, "%s of the image %s", variable, target)
	require.Empty(t, host, "in a container, %s is for others to reach", variable)
	return port
}

func TestImagesSetWhatTheProgramsRead(t *testing.T) {
	for _, target := range []string{"ingest-worker", "nats-bridge", "read-api"} {
		i := build(t, target)
		own := maps.Clone(i.env)
		for name := range build(t, "runtime").env {
			delete(own, name)
		}
		requireKnown(t, "deploy/Dockerfile", target, nil, own)
		decided := map[string]string{}
		if target == "read-api" { // which others reach: whoever runs the image decides who may ask
			decided["HTTP_AUTH"] = "off"
		}
		requireAccepted(t, "deploy/Dockerfile", target, decided)
		for variable := range own {
			require.Contains(t, i.ports, listens(t, target, variable), "EXPOSE")
		}
	}
}
