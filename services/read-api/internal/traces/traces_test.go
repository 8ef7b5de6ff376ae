package traces

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

const writer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestAnnouncedOrdersBecomeVisible(t *testing.T) {
	memory := tracetest.NewInMemoryExporter()
	stop, err := tracing.Start(&config.Traces{}, tracing.Options{Exporter: memory, Log: zap.NewNop()})
	require.NoError(t, err)
	defer stop()
	held := map[string]bool{}
	traces := New(func(uid string) bool { return held[uid] })
	announce := func(at time.Time, uid, traceparent string) {
		traces.Announced(fmt.Sprint(traceparent, " ", uid, " ", at.UnixNano()))
	}
	applied := func() int {
		memory.Reset()
		traces.Applied(changes.Position{})
		return len(memory.GetSpans())
	}

	committed := time.Now().Add(-time.Second)
	announce(committed, "late", writer)
	require.Zero(t, applied(), "the round was before the commit")
	_, known := traces.Of("late")
	require.False(t, known)
	held["late"], held["early"] = true, true
	require.Equal(t, 1, applied())
	span := memory.GetSpans()[0]
	require.WithinDuration(t, committed, span.StartTime, 0)
	require.Equal(t, "b7ad6b7169203331", span.Parent.SpanID().String())
	known1, known := traces.Of("late")
	require.True(t, known)
	require.Equal(t, span.SpanContext.SpanID(), known1.SpanID())
	require.Zero(t, applied(), "once")

	announce(time.Now().Add(time.Hour), "early", writer) // a poll brought it before, and the writer's clock is ahead
	require.Equal(t, 1, applied())
	require.False(t, memory.GetSpans()[0].EndTime.Before(memory.GetSpans()[0].StartTime))

	announce(time.Now().Add(-2*patience), "never", writer)
	announce(time.Now(), "late", writer[:len(writer)-1]+"0")
	announce(time.Now(), "no uid!", writer)
	for _, nonsense := range []string{"", " ", writer, writer + " uid", writer + " uid soon"} {
		traces.Announced(nonsense)
	}
	require.Zero(t, applied())
	require.Empty(t, traces.waiting, "what never comes is not waited for")
	for i := range 2 * maxWaiting {
		announce(time.Now(), fmt.Sprint("o", i), writer)
	}
	require.Len(t, traces.waiting, maxWaiting)
}
