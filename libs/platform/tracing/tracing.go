// Package tracing records spans with OpenTelemetry and sends them to a collector by OTLP
// over HTTP. A process sets it up once, with [Start]. Until then, and where no collector
// is configured, every function returns at once and nothing is allocated.
//
// Sampling respects the parent: a span is recorded if the one before it was, in another
// program or in this one. The sampler of the settings decides only about spans without a
// parent. A span with links to sampled ones is recorded as well.
package tracing

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// Header is the name of the header that carries a trace, in HTTP requests, Kafka records
// and NATS messages (W3C Trace Context).
const Header = "traceparent"

const (
	// flushTimeout bounds how long the last spans are waited for at the end.
	flushTimeout = 3 * time.Second
	// complainEvery is how often the log says that spans are lost.
	complainEvery = time.Minute
)

// Options of Start.
type Options struct {
	Service string      // service.name, unless OTEL_SERVICE_NAME is set
	Roots   sdk.Sampler // decides about spans without a parent; nil: none
	Log     *zap.Logger // gets the exporter's errors
	// Exporter receives the spans at once instead of a collector, for tests.
	Exporter sdk.SpanExporter
}

// current is nil while no spans are recorded.
var current atomic.Pointer[trace.Tracer]

// Start begins to record spans, if the settings ask for it. stop sends those that are
// left, within a few seconds. The settings are valid.
func Start(settings *config.Traces, o Options) (stop func(), err error) {
	if !settings.On() && o.Exporter == nil {
		return func() {}, nil
	}
	process, end := sdk.WithSyncer(o.Exporter), func() {}
	if o.Exporter == nil {
		client, err := newClient(settings)
		if err != nil {
			return nil, err
		}
		process, end = sdk.WithBatcher(otlptrace.NewUnstarted(client)), client.end
	}
	otel.SetErrorHandler(complaints(o.Log))
	itself, err := resource.New(context.Background(),
		resource.WithSchemaURL(semconv.SchemaURL), resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName(o.Service), semconv.ServiceVersion(buildinfo.Read().Version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdk.NewTracerProvider(process, sdk.WithResource(itself), sdk.WithSampler(sampler(settings, o.Roots)))
	tracer := provider.Tracer("github.com/orderhub/orderhub", trace.WithSchemaURL(semconv.SchemaURL))
	current.Store(&tracer)
	return func() {
		current.CompareAndSwap(&tracer, nil)
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			otel.Handle(err)
		}
		end()
	}, nil
}

// complaints logs what the exporter reports, once in a while.
func complaints(log *zap.Logger) otel.ErrorHandlerFunc {
	var last atomic.Int64
	return func(err error) {
		before, now := last.Load(), time.Now().UnixNano()
		if (before == 0 || now-before >= int64(complainEvery)) && last.CompareAndSwap(before, now) {
			log.Warn("traces are lost; nothing else is affected", zap.Error(err))
		}
	}
}

// On reports whether spans may be recorded.
func On() bool { return current.Load() != nil }

// Begin begins a span under the one in ctx, or without a parent, where the sampler
// decides whether it is recorded. Callers that make its options for each record or
// request ask On, Recording or Parse before.
func Begin(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	tracer := current.Load()
	if tracer == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	return (*tracer).Start(ctx, name, options...)
}

// Recording reports whether ctx has a span that is recorded.
func Recording(ctx context.Context) bool { return On() && trace.SpanFromContext(ctx).IsRecording() }

// ID returns the id of the trace that ctx is part of, 32 hex digits; "" if the trace is
// not recorded.
func ID(ctx context.Context) string {
	if !On() {
		return ""
	}
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		return span.TraceID().String()
	}
	return ""
}

// Field is the log's field with ID; none if the trace is not recorded.
func Field(ctx context.Context) zap.Field {
	if id := ID(ctx); id != "" {
		return zap.String("trace_id", id)
	}
	return zap.Skip()
}

// Parse returns the span that a traceparent header names, if spans are recorded here and
// its sender recorded it. It allocates nothing for any other header.
func Parse(traceparent []byte) (span trace.SpanContext, sampled bool) {
	if !On() {
		return trace.SpanContext{}, false
	}
	return Sampled(traceparent)
}

// Sampled is Parse for a caller that only shows the trace: it does not matter whether
// spans are recorded here.
func Sampled(traceparent []byte) (span trace.SpanContext, sampled bool) {
	const flags = len("00-") + 32 + len("-") + 16 + len("-") + 1 // where the last digit of the flags is
	if len(traceparent) <= flags || !odd(traceparent[flags]) {
		return trace.SpanContext{}, false
	}
	header := propagation.MapCarrier{Header: string(traceparent)}
	span = trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), header))
	return span, span.IsSampled()
}

// odd tells whether the last bit of a hex digit is set.
func odd(digit byte) bool { return digit&1 == 1 == (digit <= '9') }

// Traceparent returns the header that makes the receiver continue the span in ctx; nil if
// that is not recorded.
func Traceparent(ctx context.Context) []byte {
	if !On() {
		return nil
	}
	span := trace.SpanContextFromContext(ctx)
	if !span.IsSampled() {
		return nil
	}
	header := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), span.WithTraceState(trace.TraceState{})), header)
	return []byte(header[Header])
}

// Under returns ctx with a span of another program, or of another part of this one, as
// the parent of the spans to come.
func Under(ctx context.Context, parent trace.SpanContext) context.Context {
	return trace.ContextWithRemoteSpanContext(ctx, parent)
}

// Fail marks a span as failed. kind is a class of errors, such as a SQLSTATE: messages
// may quote people's data, so spans never have them.
func Fail(span trace.Span, kind string) {
	span.SetStatus(codes.Error, "")
	span.SetAttributes(attribute.String(string(semconv.ErrorTypeKey), kind))
}

// Attributes of Orderhub's own. None holds personal data.
const (
	OrderUID = attribute.Key("orderhub.order_uid")
	LetterID = attribute.Key("orderhub.letter_id")
	Outcome  = attribute.Key("orderhub.outcome") // of a record: stored, duplicate or dead_letter
	Reason   = attribute.Key("orderhub.reason")  // of a dead letter
)

// Operation is one of the messaging conventions' operations on a topic of Kafka. A span
// of it is called "name topic", such as "process orders".
type Operation struct {
	name string
	kind trace.SpanKind
	typ  attribute.KeyValue
}

// The operations, by the names that Kafka's users know.
var (
	Send    = Operation{"send", trace.SpanKindProducer, semconv.MessagingOperationTypeSend}
	Poll    = Operation{"poll", trace.SpanKindClient, semconv.MessagingOperationTypeReceive}
	Process = Operation{"process", trace.SpanKindConsumer, semconv.MessagingOperationTypeProcess}
	Commit  = Operation{"commit", trace.SpanKindClient, semconv.MessagingOperationTypeSettle}
)

// On returns the name and the options of a span of the operation on a topic.
func (o Operation) On(topic string, further ...attribute.KeyValue) (name string, options trace.SpanStartOption, attributes trace.SpanStartOption) {
	return o.name + " " + topic, trace.WithSpanKind(o.kind), trace.WithAttributes(append(further,
		semconv.MessagingSystemKafka, semconv.MessagingDestinationName(topic), semconv.MessagingOperationName(o.name), o.typ)...)
}

// Place is where a record stands.
func Place(partition int, offset int64) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.MessagingDestinationPartitionID(strconv.Itoa(partition)), semconv.MessagingKafkaOffset(int(offset))}
}
