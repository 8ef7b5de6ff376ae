package pipeline

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// A record costs nothing for traces where there are none, and where its producer did not
// sample it.
func TestRecordsThatAreNotSampledCostNothing(t *testing.T) {
	header := func(flags string) []fetch.Header {
		return []fetch.Header{{Key: "other", Value: []byte("x")}, {Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags)}}
	}
	plain, unsampled, sampled := fetch.Record{}, fetch.Record{Headers: header("00")}, fetch.Record{Headers: header("01")}
	r := &record{}
	costs := func(raw *fetch.Record) float64 {
		return testing.AllocsPerRun(100, func() { r.trace(raw, "orders", "orderhub", 0) })
	}
	require.Zero(t, costs(&plain)+costs(&unsampled)+costs(&sampled), "traces are off")
	taken := []*record{r}
	require.Nil(t, links(taken))

	stop, err := tracing.Start(&config.Traces{}, tracing.Options{Exporter: tracetest.NewInMemoryExporter(), Log: zap.NewNop()})
	require.NoError(t, err)
	defer stop()
	require.Zero(t, costs(&plain)+costs(&unsampled), "traces are on")
	require.Nil(t, links(taken))
}

// The line of a batch that is traced names its trace.
func TestTheLineOfATracedBatchNamesItsTrace(t *testing.T) {
	stop, err := tracing.Start(&config.Traces{}, tracing.Options{Exporter: tracetest.NewInMemoryExporter(), Log: zap.NewNop()})
	require.NoError(t, err)
	defer stop()
	core, logged := observer.New(zapcore.InfoLevel)
	p := &Pipeline{Deps: Deps{Metrics: NewMetrics(prometheus.NewRegistry()), Log: zap.New(core)}, summary: newSummary(zap.NewNop())}
	c := &partition{Pipeline: p, log: p.Log}
	parent, _ := tracing.Parse([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	invalid := ingest.NewDecoder(model.New(model.Options{}), nil).Decode(deadletter.Source{Value: []byte("no order")})
	c.account(tracing.Under(t.Context(), parent), []*ingest.Record{invalid}, nil, 100, 1, time.Millisecond)
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", logged.FilterMessage("batch done").All()[0].ContextMap()["trace_id"])
}

// BenchmarkTracesOff is what traces that are off cost a record with a sampled header: all
// of a batch's calls, divided by its records.
func BenchmarkTracesOff(b *testing.B) {
	raw := fetch.Record{Headers: []fetch.Header{{Key: tracing.Header, Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}}}
	c, batch := &partition{}, make([]*record, 500)
	for i := range batch {
		batch[i] = &record{}
	}
	for b.Loop() {
		for _, r := range batch {
			r.trace(&raw, "orders", "orderhub", 0)
		}
		c.received(time.Time{}, batch)
		ctx, span := c.traceBatch(b.Context(), batch)
		operation(ctx, tracing.Send, "orders.dlq").End()
		operation(ctx, tracing.Commit, "orders").End()
		for range 6 { // statements
			_ = bundb.Traced(ctx, "COPY", func(context.Context) error { return nil })
		}
		if tracing.On() {
			endTraces(batch, nil, true)
		}
		span.End()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/record")
}
