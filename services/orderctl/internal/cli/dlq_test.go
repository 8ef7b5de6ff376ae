package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/errs"
)

func TestDLQWrongUsage(t *testing.T) {
	for args, want := range map[string]string{
		"dlq redrive":                                     "say which letters",
		"dlq redrive --all --reason x":                    "in one way",
		"dlq redrive orders/0/1 --all":                    "in one way",
		"dlq redrive --all --rate -1":                     "--rate",
		"dlq redrive --all --max-redrives 0":              "--max-redrives",
		"dlq discard --all":                               "--why",
		"dlq undo":                                        "say which letters",
		"dlq purge":                                       "--resolved",
		"dlq purge --resolved":                            "--older-than",
		"dlq purge --resolved --older-than soon":          "--older-than",
		"dlq purge --resolved --older-than 1d orders/0/1": "purge goes by age",
		"dlq show":                                        "name one letter",
		"dlq list --brokers nowhere":                      "--brokers",
		"find":                                            "name one order",
	} {
		got := orderctl(t, "", strings.Fields(args)...)
		require.Equal(t, errs.ExitUsage, got.code, args)
		require.Contains(t, got.stderr, want, args)
		require.Empty(t, got.stdout)
	}
}

// filterOf is the filter of the flags.
func filterOf(args ...string) (letter.Filter, error) {
	cmd, f := &cobra.Command{}, filterFlags{}
	f.register(cmd)
	err := cmd.ParseFlags(args)
	return f.Filter, err
}

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"2h":                   now.Add(-2 * time.Hour),
		"1.5d":                 now.Add(-36 * time.Hour),
		"2026-03-01":           time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		"2026-03-01 10:00:00":  time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		"2026-03-01T10:00:00Z": time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
	} {
		got, err := letter.ParseWhen(text, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), text)
	}
	got, err := filterOf("--since", "2h")
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(-2*time.Hour), got.Since, time.Minute)
	for _, text := range []string{"soon", "-2h", "-1d", "d", "2026-13-01"} {
		_, err := filterOf("--since", text)
		require.ErrorContains(t, err, "--since", text)
	}
}

func TestOffsets(t *testing.T) {
	for text, want := range map[string][2]int64{"5": {5, 5}, "5-7": {5, 7}, "5-": {5, -1}, "-7": {-1, 7}} {
		got, err := filterOf("--offsets", text)
		require.NoError(t, err)
		for i, bound := range []*int64{got.MinOffset, got.MaxOffset} {
			if want[i] < 0 {
				require.Nil(t, bound, text)
			} else {
				require.Equal(t, want[i], *bound, text)
			}
		}
	}
}

func TestConfirmation(t *testing.T) {
	for answer, want := range map[string]error{"y\n": nil, "Yes\n": nil, "n\n": failed(), "": failed()} {
		var stderr bytes.Buffer
		a := newApp(strings.NewReader(answer), nil, &stderr)
		require.Equal(t, want, a.ask("redrive 3 letters"), "%q", answer)
		require.Contains(t, stderr.String(), "This will redrive 3 letters. Go on? [y/N]")
	}
	a := newApp(strings.NewReader("y\n"), nil, nil)
	require.ErrorContains(t, a.confirm(false, "redrive 3 letters"), "add --yes", "nobody is there to answer")
	require.NoError(t, a.confirm(true, ""))
}

func TestDLQCompletion(t *testing.T) {
	require.Contains(t, orderctl(t, "", "__complete", "dlq", "list", "--stage", "").stdout, "validate")
	require.Contains(t, orderctl(t, "", "__complete", "dlq", "list", "--status", "").stdout, "resolved")
	require.Contains(t, orderctl(t, "", "__complete", "dlq", "redrive", "--reason", "").stdout, "conflict")
}
