package httpapi

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// linkTo links the span of a request to the trace of the order that it asks for.
func (a *api) linkTo(ctx context.Context, uid string) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(tracing.OrderUID.String(uid))
	if order, known := a.Traces.Of(uid); known {
		span.AddLink(trace.Link{SpanContext: order})
	}
}

// deliver begins the span of an order's delivery to the client whose request ctx is of. It
// is in the order's trace, and linked to the request; nil: the order is not traced.
func (a *api) deliver(ctx context.Context, uid string) trace.Span {
	order, known := a.Traces.Of(uid)
	if !known {
		return nil
	}
	_, span := tracing.Begin(tracing.Under(context.Background(), order), "deliver",
		trace.WithAttributes(tracing.OrderUID.String(uid)), trace.WithLinks(trace.LinkFromContext(ctx)))
	return span
}
