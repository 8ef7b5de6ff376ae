package dlq

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/binaries"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// The broker and the bare consumer are this test's binary once more.
func TestMain(m *testing.M) {
	rig.Play()
	m.Run()
}

// All contenders find what is there; their speed is no matter here.
func TestSmoke(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, binaries.Build(folder))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	site := rig.OpenSite(ctx, &rig.Flags{Binaries: folder}, map[string]string{"min_wal_size": "64MB"})
	defer site.Close()
	b := &Benchmark{Partitions: 3, Rounds: 1}
	r := b.topic(ctx, site, 1500)
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
