package main

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseLoad(t *testing.T) {
	const output = "Running 1s test\n  2 threads\n\n" +
		`result {"requests": 100, "microseconds": 2000000, "bytes": 9000, "failed": 0, "refused": 1, "p50": 150, "p99": 1200}` + "\n"
	l, err := parseLoad(output)
	require.NoError(t, err)
	s := sample{load: l, cpu: time.Millisecond}
	require.Equal(t, 50.0, s.rate())
	require.Equal(t, 10.0, s.cost())
	require.Equal(t, 1.2, s.p99())
	require.Equal(t, int64(1), s.Refused)
}

func TestParseLoadRefusesBrokenRuns(t *testing.T) {
	for output, word := range map[string]string{
		"unable to connect":                      "no result",
		"\nresult {":                             "result",
		"\nresult {\"requests\":0}":              "no answer",
		"\nresult {\"requests\":5,\"failed\":2}": "2 of 7",
	} {
		_, err := parseLoad(output)
		require.ErrorContains(t, err, word, output)
	}
}

func TestSectionsOfSettingsAreApart(t *testing.T) {
	names := map[string]bool{}
	for _, args := range [][]string{nil, {"--orders", "10000"}, {"--compression", "zstd"}, {"--ingest-rate", "5000"}} {
		s, err := parseFlags(args, io.Discard)
		require.NoError(t, err)
		names[s.section] = true
	}
	require.Len(t, names, 4)
	require.Contains(t, names, "read-100000")
}

func TestWrongFlagsAreNamed(t *testing.T) {
	for _, args := range [][]string{
		{"--orders", "0"}, {"--connections", "1"}, {"--duration", "10ms"}, {"--ingest-rate", "-1"}, {"surplus"},
	} {
		_, err := parseFlags(args, io.Discard)
		require.ErrorContains(t, err, args[0], "%v", args)
	}
}

func TestReversedUIDsAreOthers(t *testing.T) {
	require.Equal(t, "tset1a", reverse("a1test"))
}

func TestBareServerAnswersItsBytes(t *testing.T) {
	in, hangUp := io.Pipe()
	out, answers := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- serveBare("17", in, answers) }()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	response, err := http.Get("http://" + lines.Text() + "/order/any")
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Len(t, body, 17)
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	require.NoError(t, hangUp.Close())
	require.NoError(t, <-done)
}
