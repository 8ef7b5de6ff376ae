package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/binaries"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// The broker and the bare consumer are this test's binary once more.
func TestMain(m *testing.M) {
	program.Play(rig.BrokerRole, consumerRole)
	os.Exit(m.Run())
}

func TestFlags(t *testing.T) {
	parse := func(args ...string) (*settings, error) {
		s := &settings{}
		return s, program.Parse(benchmark, s, args, io.Discard)
	}
	s, err := parse("--smoke", "--partitions", "2")
	require.NoError(t, err)
	require.Equal(t, []int{2000}, s.Letters)
	require.Equal(t, 2, s.Partitions)
	require.Equal(t, 1, s.Rounds)
	require.Equal(t, "bin", s.Binaries)
	require.False(t, s.WritesDocument())
	s, err = parse()
	require.NoError(t, err)
	require.True(t, s.WritesDocument())
	require.Equal(t, program.Benchmarks, benchmark.Document)
	for _, args := range [][]string{{"--letters", "0"}, {"--letters", ""}, {"--rounds", "0"}, {"--partitions", "0"}} {
		_, err := parse(args...)
		require.ErrorContains(t, err, strings.TrimLeft(args[0], "-"), "%v", args)
	}
}

// All contenders find what is there; their speed is no matter here.
func TestSmoke(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, binaries.Build(folder))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := measureTopic(ctx, &settings{Flags: program.Flags{Binaries: folder}, Partitions: 3, Rounds: 1}, 1500)
	require.NoError(t, err)
	require.Equal(t, written{records: 1650, bytes: r.written.bytes, resolved: 150, listed: 30}, r.written)
	table := r.table()
	for _, c := range contenders {
		require.Contains(t, table, c.name)
		require.Error(t, c.check([]byte("nonsense"), r.written, r.letters))
	}
	require.Contains(t, goals([]results{r, r2(r)}), "bytes of peak memory a letter more")
}

// r2 are results of a topic with twice as many letters.
func r2(r results) results {
	r.letters *= 2
	return r
}

func TestATableHasRatiosOfRounds(t *testing.T) {
	run := func(seconds float64) rig.Use {
		return rig.Use{Times: 1000, Took: time.Duration(seconds * float64(time.Second)), Client: time.Second, Peak: 100 << 20}
	}
	r := results{letters: 1000, written: written{records: 1, bytes: 1}, samples: report.Samples[rig.Use]{}}
	for i, c := range contenders {
		r.samples[c.name] = []rig.Use{run(float64(i + 1)), run(10 * float64(i+1))}
	}
	require.Contains(t, r.table(), "0.50")
	require.Contains(t, goals([]results{r}), fmt.Sprintf("%s: 0.33 ×", contenders[2].name))
}
