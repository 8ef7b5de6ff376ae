package main

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/wrk"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func parse(args ...string) (*settings, error) {
	s := &settings{}
	return s, program.Parse(benchmark, s, args, io.Discard)
}

func TestOneCommandMakesAllTables(t *testing.T) {
	s, err := parse()
	require.NoError(t, err)
	require.True(t, s.WritesDocument())
	require.Equal(t, []int{10_000, 3_000_000}, s.Others)
	require.True(t, s.Zstd)
	require.Equal(t, 5000, s.IngestRate)
}

func TestWrongFlagsAreNamed(t *testing.T) {
	for _, args := range [][]string{
		{"--orders", "0"}, {"--connections", "1"}, {"--duration", "10ms"}, {"--ingest-rate=-1"}, {"--others", "100000"}, {"surplus"},
	} {
		_, err := parse(args...)
		require.ErrorContains(t, err, strings.TrimSuffix(args[0], "=-1"), "%v", args)
	}
}

func measurement(requests int64) sample {
	return sample{Load: wrk.Load{Requests: requests, Microseconds: 1e6, P50: 500, P99: 2000}, cpu: time.Second}
}

func TestRatiosAreToTheBareServerBeside(t *testing.T) {
	// The machine was four times slower in the second round.
	measured := report.Samples[pair]{"hits": {{of: measurement(900), bare: measurement(1000)}, {of: measurement(225), bare: measurement(250)}}}
	targets := []target{{name: "hits", goal: 0.95}}
	require.Contains(t, table("Title", targets, measured), "| hits                     |        562 |       0.90 |   0.50 |   2.00 |       1.00 |")
	require.Contains(t, goals(targets, measured), "hits: 0.90 × bare gin (goal: at least 0.95), p99 1.00 ×")
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
