package main

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/wrk"
)

func TestOneCommandMakesAllTables(t *testing.T) {
	s, err := parseFlags(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, program.Document, s.Document)
	require.Equal(t, program.List{10_000, 3_000_000}, s.others)
	require.True(t, s.zstd)
	require.Equal(t, 5000, s.ingestRate)
}

func TestWrongFlagsAreNamed(t *testing.T) {
	for _, args := range [][]string{
		{"--orders", "0"}, {"--connections", "1"}, {"--duration", "10ms"}, {"--ingest-rate", "-1"}, {"--others", "100000"}, {"surplus"},
	} {
		_, err := parseFlags(args, io.Discard)
		require.ErrorContains(t, err, args[0], "%v", args)
	}
}

func measurement(requests int64) sample {
	return sample{Load: wrk.Load{Requests: requests, Microseconds: 1e6, P50: 500, P99: 2000}, cpu: time.Second}
}

func TestRatiosAreToTheBareServerBeside(t *testing.T) {
	// The machine was four times slower in the second round.
	measured := []pairs{{of: []sample{measurement(900), measurement(225)}, bare: []sample{measurement(1000), measurement(250)}}}
	targets := []target{{name: "hits", goal: 0.95}}
	require.Contains(t, table("Title", "bare", targets, measured), "| hits |        562 |       0.90 |   0.50 |   2.00 |       1.00 |")
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
