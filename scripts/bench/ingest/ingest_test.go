package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

func parse(args ...string) (*settings, error) {
	s := &settings{}
	return s, program.Parse(benchmark, s, args, io.Discard)
}

func TestSmokeKeepsWhatWasChosen(t *testing.T) {
	s, err := parse("--smoke", "--items", "7", "--postgres", "shared_buffers=64MB")
	require.NoError(t, err)
	require.Equal(t, []int{7}, s.Items)
	require.Equal(t, map[string]string{"shared_buffers": "64MB", "min_wal_size": "128MB"}, s.Postgres)
	require.Equal(t, 2000, s.Orders)
	require.False(t, s.WritesDocument(), "a small run leaves the document alone")
	s, err = parse("--postgres", "search_path=a;b", "--postgres", "fsync=off")
	require.NoError(t, err)
	require.Equal(t, "a;b", s.Postgres["search_path"])
	require.Equal(t, "off", s.Postgres["fsync"])
}

func TestOnlyFullRunsGoIntoTheDocument(t *testing.T) {
	s, err := parse()
	require.NoError(t, err)
	require.True(t, s.WritesDocument())
	require.Equal(t, program.Benchmarks, benchmark.Document)
	s, err = parse("--orders", "1000")
	require.NoError(t, err)
	require.False(t, s.WritesDocument())
	s, err = parse("--orders", "1000", "--document", "x.md")
	require.NoError(t, err)
	require.True(t, s.WritesDocument())
}

func TestWrongFlagsAreNamed(t *testing.T) {
	for _, args := range [][]string{
		{"--orders", "0"}, {"--items", "1,x"}, {"--items", ""}, {"--workers", "0"}, {"--latency=-1"}, {"--postgres", "fsync"}, {"surplus"},
	} {
		_, err := parse(args...)
		require.ErrorContains(t, err, strings.TrimSuffix(args[0], "=-1"), "%v", args)
	}
}

// measurement stored 1000 orders at so many a second.
func measurement(rate float64, client, database time.Duration) rig.Use {
	return rig.Use{
		Times: 1000, Took: time.Duration(1000 / rate * float64(time.Second)), Client: client, Database: database,
		WAL: 1_500_000, Peak: 200 << 20, Allocs: 9000,
	}
}

func TestTableHasRatiosOfRounds(t *testing.T) {
	measured := samples{
		rawCopy.name: {measurement(1000, time.Millisecond, 40*time.Millisecond), measurement(100, time.Millisecond, 40*time.Millisecond)},
		worker.name:  {measurement(750, 12*time.Millisecond, 44*time.Millisecond), measurement(75, 12*time.Millisecond, 44*time.Millisecond)},
		single.name:  {measurement(25, time.Second, time.Second), measurement(2.5, time.Second, time.Second)},
	}
	text := comparisonTable("Title", []contender{rawCopy, worker}, measured)
	require.Contains(t, text, "| ingest-worker         |      413 |       0.75 |              44.0 |       1.10 |            12.0 |")
	lines := goals(measured)
	require.Contains(t, lines, "rate: 0.75 × raw COPY")
	require.Contains(t, lines, "CPU an order: 1.10 ×")
	require.Contains(t, lines, "the worker's CPU: 0.27 ×")
	require.Contains(t, lines, "peak memory: 200 MiB")
	require.Contains(t, lines, "rate: 30 × a transaction")
}

func TestLatencyIsComparedWithABareCommit(t *testing.T) {
	l := latencies{
		produced: []time.Duration{time.Millisecond}, committed: []time.Duration{7500 * time.Microsecond},
		inserted: []time.Duration{2 * time.Millisecond},
	}
	require.Contains(t, latencyTable(l), "committed: 5.50 ms over that of a bare commit")
}

func TestNumbersForPeople(t *testing.T) {
	require.Equal(t, "1 item", count(1, "item"))
	require.Equal(t, "3,000,000 orders", count(3_000_000, "order"))
}
