package web

import (
	"strconv"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// traced records requests in the client's trace, if it sampled that. A span names the
// route, not the address: its parameters may hold personal data.
func traced(c *gin.Context) {
	ctx := propagation.TraceContext{}.Extract(c.Request.Context(), propagation.HeaderCarrier(c.Request.Header))
	name := c.Request.Method
	if route := c.FullPath(); route != "" {
		name += " " + route
	}
	ctx, span := tracing.Begin(ctx, name, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.HTTPRequestMethodKey.String(c.Request.Method), semconv.HTTPRoute(c.FullPath())))
	if !span.IsRecording() {
		return
	}
	c.Request = c.Request.WithContext(ctx)
	defer func() {
		status := c.Writer.Status()
		span.SetAttributes(semconv.HTTPResponseStatusCode(status))
		if status >= 500 {
			tracing.Fail(span, strconv.Itoa(status))
		}
		span.End()
	}()
	c.Next()
}
