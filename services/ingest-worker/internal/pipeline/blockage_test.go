package pipeline

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/platform/health"
)

// While partitions wait, readiness says since when and why. The log has a line when it
// begins, one now and then, and one when it ends, however many partitions wait.
func TestWaitingIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zapcore.DebugLevel)
		registry := health.NewRegistry()
		b := NewBlockage(registry.Component("pipeline"), NewMetrics(prometheus.NewRegistry()), zap.New(core))
		since := time.Now().UTC().Format(time.RFC3339)
		one, two := waiter{1, writing}, waiter{2, writing}

		b.block(one, errclass.Environment, errclass.CauseDatabase, errors.New("connection refused"))
		for range 9 {
			time.Sleep(5 * time.Second)
			b.block(one, errclass.Environment, errclass.CauseDatabase, errors.New("connection reset"))
			b.block(two, errclass.Environment, errclass.CauseDatabase, errors.New("connection reset"))
		}
		ready, components := registry.Status()
		require.False(t, ready)
		require.Equal(t, "waiting for database since "+since+": connection reset", components[0].Detail)
		b.clear(one)
		ready, _ = registry.Status()
		require.False(t, ready, "the other one waits")
		b.clear(two)
		ready, _ = registry.Status()
		require.True(t, ready)

		lines := logged.TakeAll()
		require.Len(t, lines, 3)
		require.Equal(t, "connection refused", lines[0].ContextMap()["error"])
		require.Equal(t, 30*time.Second, lines[1].ContextMap()["duration_seconds"])
		require.Equal(t, "resumed", lines[2].Message)
		require.Equal(t, 45*time.Second, lines[2].ContextMap()["duration_seconds"])

		b.block(one, errclass.Unclassified, errclass.CauseUnknown, errors.New("what is this"))
		lines = logged.TakeAll()
		require.Len(t, lines, 1)
		require.Equal(t, zapcore.ErrorLevel, lines[0].Level, "an unclassified error is logged as an error")
		require.Contains(t, lines[0].Message, "please report it")
	})
}
