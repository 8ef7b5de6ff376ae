package bundb

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// Statements and errors hold people's data. Spans have neither, and are only under others.
func TestSpansOfQueriesHoldNoValues(t *testing.T) {
	memory := tracetest.NewInMemoryExporter()
	stop, err := tracing.Start(&config.Traces{Sampler: "always_on"}, tracing.Options{Exporter: memory, Log: zap.NewNop()})
	require.NoError(t, err)
	defer stop()
	query := func(ctx context.Context) {
		ctx = queries{}.TraceQueryStart(ctx, nil, pgx.TraceQueryStartData{SQL: "\tselect * FROM orders WHERE customer_id = 'planted'", Args: []any{"planted"}})
		queries{}.TraceQueryEnd(ctx, nil, pgx.TraceQueryEndData{Err: &pgconn.PgError{Code: "22021", Message: "planted", Detail: "planted"}})
	}
	query(t.Context())
	require.Empty(t, memory.GetSpans())
	ctx, parent := tracing.Begin(t.Context(), "parent")
	query(ctx)
	require.Error(t, Traced(ctx, "COPY", func(context.Context) error { return fmt.Errorf("planted") }))
	parent.End()
	spans := memory.GetSpans()
	require.Len(t, spans, 3)
	require.Equal(t, "SELECT", spans[0].Name)
	require.Contains(t, fmt.Sprint(spans[0].Attributes), "22021")
	require.NotContains(t, fmt.Sprintf("%+v", spans), "planted")
}
