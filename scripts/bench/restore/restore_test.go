package restore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func TestTableSaysHowFarTheGoalsAre(t *testing.T) {
	off := sample{Use: rig.Use{Times: 1 << 20, Took: 3 * time.Second, Client: 4 * time.Second, Peak: 1300 << 20}, memory: 1200 << 20, jsonBytes: 1000 << 20}
	zstd := off
	zstd.memory = 300 << 20
	warm := off
	warm.Took /= 10
	f := findings{
		samples: report.Samples[sample]{copyOut: {{Use: rig.Use{Took: 2 * time.Second}}}, readerWith("off"): {off}, readerWith("zstd"): {zstd}, warmWith("off"): {warm}, warmWith("zstd"): {warm}},
		churn: map[string]churned{"off": {
			Changes: rig.Changes{Updates: 3, Deletes: 1, Inserts: 1}, memory: 1190 << 20, peak: 1400 << 20, stats: rig.ReaderStats{Orders: 1 << 20, JSONBytes: 1000 << 20},
		}},
	}
	text := f.markdown(&Benchmark{Orders: 1 << 20, Churn: time.Minute})
	require.Contains(t, text, "- time: 1.50 × COPY OUT (goal: at most 1.5)")
	require.Contains(t, text, "- warm start: 0.15 × COPY OUT")
	require.Contains(t, text, "memory, off: 0.94 × the goal (1.15 × JSON and 120 bytes an order) at ready, 0.94 × after 5 changes in 1m0s (3 updates, 1 deletes, 1 inserts), 1190 MiB or 1.190 × JSON; at most 1400 MiB meanwhile")
	require.Contains(t, text, "memory, zstd: 0.70 × the goal (0.35 × JSON and 80 bytes an order) at ready\n")
}
