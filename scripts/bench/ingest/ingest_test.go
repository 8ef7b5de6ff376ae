package ingest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// measurement stored 1000 orders at so many a second.
func measurement(rate float64, client, database time.Duration) rig.Use {
	return rig.Use{
		Times: 1000, Took: time.Duration(1000 / rate * float64(time.Second)), Client: client, Database: database,
		WAL: 1_500_000, Peak: 200 << 20, Allocs: 9000,
	}
}

func TestTableHasRatiosOfRounds(t *testing.T) {
	measured := samples{
		rawCopy.name:   {measurement(1000, time.Millisecond, 40*time.Millisecond), measurement(100, time.Millisecond, 40*time.Millisecond)},
		worker.name:    {measurement(750, 12*time.Millisecond, 44*time.Millisecond), measurement(75, 12*time.Millisecond, 44*time.Millisecond)},
		lookingUp.name: {measurement(600, time.Millisecond, 40*time.Millisecond), measurement(60, time.Millisecond, 40*time.Millisecond)},
		unmarshal.name: {measurement(9000, 10*time.Millisecond, 0), measurement(900, 10*time.Millisecond, 0)},
		single.name:    {measurement(25, time.Second, time.Second), measurement(2.5, time.Second, time.Second)},
	}
	text := comparisonTable("Title", []contender{rawCopy, worker}, measured)
	require.Contains(t, text, "| ingest-worker         |      413 |       0.75 |              44.0 |       1.10 |            12.0 |")
	lines := goals(measured)
	require.Contains(t, lines, "rate: 0.75 × raw COPY without triggers (goal: at least 1.15), 0.60 × where")
	require.Contains(t, lines, "CPU an order: 1.10 ×")
	require.Contains(t, lines, "the worker's CPU an order: 1.20 × encoding")
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
