package pipeline

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/model"
)

// Under load a partition logs a batch a second, and all partitions together what they
// have done every ten seconds.
func TestBatchesAreLoggedSometimesAndSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zapcore.DebugLevel)
		p := &Pipeline{Deps: Deps{Metrics: NewMetrics(prometheus.NewRegistry()), Log: zap.New(core)}, summary: newSummary(zap.New(core))}
		var parts []*partition
		for id := range 2 {
			p.summary.join()
			parts = append(parts, &partition{Pipeline: p, id: id, log: p.Log.With(zap.Int("partition", id)), often: rate.Sometimes{Interval: time.Second}})
		}
		lines := func(level zapcore.Level, message string) []observer.LoggedEntry {
			return logged.FilterMessage(message).FilterLevelExact(level).All()
		}
		letter := []deadletter.Letter{{Reason: "invalid_json"}}
		invalid := ingest.NewDecoder(model.New(model.Options{}), nil).Decode(deadletter.Source{Value: []byte("no order")})
		for n := range 300 { // 12.3 seconds of 24 batches a second
			for _, c := range parts {
				c.end.Store(int64(n + 5))
				c.account(t.Context(), []*ingest.Record{invalid}, letter, 100, int64(n), time.Millisecond)
			}
			time.Sleep(41 * time.Millisecond)
		}
		require.Len(t, lines(zapcore.InfoLevel, "batch done"), 2*12)
		require.Len(t, lines(zapcore.DebugLevel, "batch done"), 2*(300-12))
		sums := lines(zapcore.InfoLevel, "summary of batches")
		require.Len(t, sums, 1)
		fields := sums[0].ContextMap()
		require.Equal(t, summaryPeriod, fields["duration_seconds"])
		require.EqualValues(t, 488, fields["batches"])
		require.EqualValues(t, 488, fields["dead_letters"])
		require.EqualValues(t, 488*100, fields["bytes"])
		require.EqualValues(t, 10, fields["lag"])

		p.summary.leave(0)
		require.Len(t, lines(zapcore.InfoLevel, "summary of batches"), 1)
		p.summary.leave(1)
		sums = lines(zapcore.InfoLevel, "summary of batches")
		require.Len(t, sums, 2, "what is left is said when the last partition goes")
		require.EqualValues(t, 112, sums[1].ContextMap()["batches"])
		time.Sleep(time.Minute)
		require.Len(t, lines(zapcore.InfoLevel, "summary of batches"), 2, "an idle worker says nothing")
	})
}
