package metric

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// Only an observation in a sampled trace has an exemplar, and costs something.
func TestExemplarsNameSampledTraces(t *testing.T) {
	h := Histogram(prometheus.NewRegistry(), "orderhub_test_seconds", "A test.", []float64{1, 2})
	within := func(flags trace.TraceFlags) context.Context {
		return trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: flags}))
	}
	exemplar := func() *dto.Exemplar {
		var m dto.Metric
		require.NoError(t, h.Write(&m))
		return m.GetHistogram().GetBucket()[1].GetExemplar()
	}
	sampled, unsampled := within(trace.FlagsSampled), within(0)
	costs := func(ctx context.Context) float64 { return testing.AllocsPerRun(100, func() { Observe(ctx, h, 1.5) }) }
	require.Zero(t, costs(sampled)+costs(unsampled), "traces are off")
	require.Nil(t, exemplar())
	stop, err := tracing.Start(&config.Traces{}, tracing.Options{Exporter: tracetest.NewInMemoryExporter(), Log: zap.NewNop()})
	require.NoError(t, err)
	defer stop()
	require.Zero(t, costs(unsampled))
	require.Nil(t, exemplar())
	Observe(sampled, h, 1.5)
	require.Equal(t, "trace_id", exemplar().GetLabel()[0].GetName())
	require.Equal(t, trace.TraceID{1}.String(), exemplar().GetLabel()[0].GetValue())
}
