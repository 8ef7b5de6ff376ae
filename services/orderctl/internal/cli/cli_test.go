package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/errs"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// requireGolden compares with a file in testdata.
func requireGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update to write it")
	require.Equal(t, string(want), got, "run the test with -update if this is meant")
}

// result is what a run of orderctl left behind.
type result struct {
	code           int
	stdout, stderr string
}

// isolate keeps the environment of the tests' caller out.
func isolate(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "KAFKA_") || strings.HasPrefix(name, "INGEST_") || name == "DATABASE_URL" || name == "GO_DOTENV_PATH" {
			t.Setenv(name, "")
		}
	}
}

// orderctl runs a command that needs neither brokers nor a database.
func orderctl(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	isolate(t)
	var stdout, stderr bytes.Buffer
	code := newApp(strings.NewReader(stdin), &stdout, &stderr).run(t.Context(), args)
	return result{code, stdout.String(), stderr.String()}
}

func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		all = append(all, commands(c)...)
	}
	return all
}

func TestHelp(t *testing.T) {
	all := commands(newApp(nil, io.Discard, io.Discard).rootCommand())
	require.Len(t, all, strings.Count(helpFile, "=== ")-1, "help.txt explains commands that there are, and help")
	for _, cmd := range all {
		path := strings.Fields(cmd.CommandPath())
		t.Run(strings.Join(path, "_"), func(t *testing.T) {
			got := orderctl(t, "", append(path[1:], "--help")...)
			require.Equal(t, errs.ExitDone, got.code)
			require.Empty(t, got.stderr)
			// The table of variables is libs/platform's.
			text, settings, has := strings.Cut(got.stdout, "\nEnvironment (")
			requireGolden(t, "help_"+strings.Join(path, "_"), text)
			if has {
				require.Regexp(t, "KAFKA_BROKERS|DATABASE_URL|INGEST_CHECK_SUMS|ORDERHUB_AUDIT", settings)
			}
			if cmd.Name() != "help" {
				require.NotEmpty(t, cmd.Example, "no examples")
			}
		})
	}
}

func TestHelpListsTheVariables(t *testing.T) {
	for command, variables := range map[string][]string{
		"":               {"KAFKA_BROKERS", "KAFKA_SASL_PASSWORD", "DATABASE_URL"},
		"publish":        {"KAFKA_BROKERS", "KAFKA_TOPIC", "INGEST_CHECK_SUMS"},
		"topics":         {"KAFKA_DLQ_TOPIC", "KAFKA_TOPIC_PARTITIONS"},
		"migrate":        {"DATABASE_URL"},
		"migrate status": {"DATABASE_URL"},
	} {
		got := orderctl(t, "", append(strings.Fields(command), "--help")...)
		for _, v := range variables {
			require.Contains(t, got.stdout, v, command)
		}
	}
	require.NotContains(t, orderctl(t, "", "fields", "--help").stdout, "DATABASE_URL", "it reads the topic alone")
	t.Setenv("KAFKA_SASL_PASSWORD", "hunter2")
	require.NotContains(t, orderctl(t, "", "--help").stdout, "hunter2")
}

// TestErrors keeps what is said about wrong usage, a line each.
func TestErrors(t *testing.T) {
	var all strings.Builder
	for _, args := range []string{
		"pubish", "frobnicate", "--nope", "--output yaml version", "help frobnicate",
		"version extra", "completion", "completion tcsh", "validate", "validate --nope x",
		"publish order.json", "publish --count 0", "publish --count many", "publish --rate -1", "publish --items 0", "publish --items a-b",
		"publish --items 5-2", "publish --items 1-5000", "publish --invalid 2", "publish --invalid NaN",
		"publish --invalid 0.6 --conflicts 0.6", "publish --faults tombstone", "publish --invalid 1 --faults boredom",
		"publish --file x --count 2", "publish --seed -1", "publish --topic a/b", "publish --brokers nowhere",
		"topics --partitions 0", "topics extra",
		"migrate sideways", "migrate --wait soon", "migrate up extra", "migrate down", "migrate down --to -1 --yes", "migrate --list-indexes --drop-list-indexes",
	} {
		got := orderctl(t, "", strings.Fields(args)...)
		require.Equal(t, errs.ExitUsage, got.code, args)
		require.Empty(t, got.stdout, args)
		require.Equal(t, 1, strings.Count(got.stderr, "\n"), "more than a line: %s", got.stderr)
		fmt.Fprintf(&all, "$ orderctl %s\n%s", args, got.stderr)
	}
	requireGolden(t, "errors", all.String())
}

func TestNoCommandIsWrongUsage(t *testing.T) {
	got := orderctl(t, "")
	require.Equal(t, errs.ExitUsage, got.code)
	require.Empty(t, got.stdout)
	require.Contains(t, got.stderr, "Available Commands:")
}

func TestWrongSettingNamesItsVariable(t *testing.T) {
	for variable, value := range map[string]string{"KAFKA_BROKERS": "nowhere", "KAFKA_TLS": "perhaps", "KAFKA_SASL_MECHANISM": "GUESS"} {
		t.Run(variable, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			t.Setenv(variable, value)
			code := newApp(nil, &stdout, &stderr).run(t.Context(), []string{"publish"})
			require.Equal(t, errs.ExitUsage, code)
			require.Contains(t, stderr.String(), variable)
		})
	}
}

func TestNobodyThere(t *testing.T) {
	isolate(t)
	// Port 1 is nobody's.
	t.Setenv("DATABASE_URL", "postgres://operator:hush@127.0.0.1:1/orders")
	for _, args := range []string{"publish --brokers 127.0.0.1:1", "topics --brokers 127.0.0.1:1", "migrate", "migrate status", "migrate --wait 1ms"} {
		var stdout, stderr bytes.Buffer
		code := newApp(strings.NewReader(""), &stdout, &stderr).run(t.Context(), strings.Fields(args))
		require.Equal(t, errs.ExitFailed, code, args)
		require.Empty(t, stdout.String())
		require.Contains(t, stderr.String(), "127.0.0.1:1", args)
		require.Contains(t, stderr.String(), "start it, or say where it is with", args)
		require.NotContains(t, stderr.String(), "hush", "a password was shown")
	}
}

func TestWrongDatabaseURLHidesThePassword(t *testing.T) {
	isolate(t)
	t.Setenv("DATABASE_URL", "postgres://operator:hush@127.0.0.1:port/orders")
	var stdout, stderr bytes.Buffer
	require.Equal(t, errs.ExitUsage, newApp(nil, &stdout, &stderr).run(t.Context(), []string{"migrate"}))
	require.Contains(t, stderr.String(), "DATABASE_URL")
	require.NotContains(t, stderr.String(), "hush")
}

func TestInterruptedWait(t *testing.T) {
	isolate(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var stdout, stderr bytes.Buffer
	code := newApp(nil, &stdout, &stderr).run(ctx, []string{"topics", "--brokers", "127.0.0.1:1", "--wait", "1h"})
	require.Equal(t, errs.ExitInterrupted, code)
	require.Equal(t, "orderctl topics: interrupted\n", stderr.String())
}

func TestVersion(t *testing.T) {
	require.Regexp(t, `^orderctl .+, go1\.`, orderctl(t, "", "version").stdout)
	require.Regexp(t, `^\{"version":".+"\}\n$`, orderctl(t, "", "version", "--output", "json").stdout)
	require.Equal(t, orderctl(t, "", "version").stdout, orderctl(t, "", "--version").stdout)
}

func TestCompletion(t *testing.T) {
	for _, shell := range shells {
		got := orderctl(t, "", "completion", shell)
		require.Equal(t, errs.ExitDone, got.code)
		require.Contains(t, got.stdout, "orderctl", shell)
	}
	require.Contains(t, orderctl(t, "", "__complete", "publish", "--faults", "tomb").stdout, "tombstone")
	require.Contains(t, orderctl(t, "", "__complete", "--output", "").stdout, "json")
}
