package bundb

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// queries traces pgx's queries under spans that are recorded. It is our own since those
// there are record texts and errors: bun writes values into the text, and PostgreSQL
// quotes them in errors, so both may hold personal data.
type queries struct{}

type traced struct{}

func (queries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if !tracing.Recording(ctx) {
		return ctx
	}
	verb, _, _ := strings.Cut(strings.TrimSpace(data.SQL), " ")
	ctx, span := begin(ctx, strings.ToUpper(verb))
	return context.WithValue(ctx, traced{}, span)
}

func (queries) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if span, ok := ctx.Value(traced{}).(trace.Span); ok {
		end(span, data.Err)
	}
}

// Traced calls do, with a span if the one in ctx is recorded.
func Traced(ctx context.Context, operation string, do func(context.Context) error) error {
	if !tracing.Recording(ctx) {
		return do(ctx)
	}
	ctx, span := begin(ctx, operation)
	err := do(ctx)
	end(span, err)
	return err
}

func begin(ctx context.Context, operation string) (context.Context, trace.Span) {
	return tracing.Begin(ctx, operation, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(semconv.DBSystemNamePostgreSQL, semconv.DBOperationName(operation)))
}

func end(span trace.Span, err error) {
	if err != nil {
		state := ""
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
			state = refused.Code
		}
		tracing.Fail(span, cmp.Or(state, "connection"))
	}
	span.End()
}
