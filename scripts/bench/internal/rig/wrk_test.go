package rig

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAnswered(t *testing.T) {
	const output = "Running 1s test\n  2 threads\n\n" +
		`result {"requests": 100, "microseconds": 2000000, "failed": 0, "refused": 1, "p50": 150, "p99": 1200}` + "\n"
	l, err := parseAnswered(output)
	require.NoError(t, err)
	require.InDelta(t, 50, l.Rate(), 0)
	require.Equal(t, int64(1200), l.P99)
	require.Equal(t, int64(1), l.Refused)
}

func TestParseAnsweredRefusesBrokenRuns(t *testing.T) {
	for output, word := range map[string]string{
		"unable to connect":                      "no result",
		"\nresult {":                             "result",
		"\nresult {\"requests\":0}":              "no answer",
		"\nresult {\"requests\":5,\"failed\":2}": "2 of 7",
	} {
		_, err := parseAnswered(output)
		require.ErrorContains(t, err, word, output)
	}
}

func TestReversedUIDsAreOthers(t *testing.T) {
	require.Equal(t, "tset1a", reverse("a1test"))
}
