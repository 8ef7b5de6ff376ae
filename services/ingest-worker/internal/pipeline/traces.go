package pipeline

import (
	"context"
	"strconv"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// A record whose producer sampled its trace has a span in that trace, from its decoding
// until it is done. The spans of what is done for
// many records at once (a fetch, a batch) are traces of their own with links to the
// spans of their sampled records, and exist only if there are any.

// trace begins the span of a record, if its producer sampled it.
func (r *record) trace(raw *fetch.Record, topic, group string, partition int) {
	if !tracing.On() {
		return
	}
	for _, h := range raw.Headers {
		if h.Key != tracing.Header {
			continue
		}
		producer, sampled := tracing.Parse(h.Value)
		if !sampled {
			continue
		}
		attributes := append(tracing.Place(partition, raw.Offset), semconv.MessagingConsumerGroupName(group), semconv.MessagingMessageBodySize(len(raw.Value)))
		name, kind, of := tracing.Process.On(topic, attributes...)
		var ctx context.Context
		ctx, r.span = tracing.Begin(tracing.Under(context.Background(), producer), name, kind, of)
		if order := r.Order(); order != nil {
			r.span.SetAttributes(tracing.OrderUID.String(order.OrderUID))
			r.SetTraceparent(string(tracing.Traceparent(ctx)))
		}
		return
	}
}

// links are those to the spans of the sampled records among the given ones.
func links(records []*record) (links []trace.Link) {
	for _, r := range records {
		if r.span != nil {
			links = append(links, trace.Link{SpanContext: r.span.SpanContext()})
		}
	}
	return links
}

// received is the span of a fetch that began at a time and brought these records.
func (c *partition) received(began time.Time, records []*record) {
	if links := links(records); links != nil {
		name, kind, of := tracing.Poll.On(c.cfg.Topic, semconv.MessagingDestinationPartitionID(strconv.Itoa(c.id)), semconv.MessagingConsumerGroupName(c.cfg.Group))
		_, span := tracing.Begin(context.Background(), name, kind, of, trace.WithTimestamp(began), trace.WithLinks(links...))
		span.End()
	}
}

// traceBatch begins the span of a batch. Without a sampled record it does nothing.
func (c *partition) traceBatch(ctx context.Context, taken []*record) (context.Context, trace.Span) {
	links := links(taken)
	if links == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	ctx, span := tracing.Begin(ctx, "batch "+c.cfg.Topic, trace.WithLinks(links...),
		trace.WithAttributes(semconv.MessagingBatchMessageCount(len(taken)), semconv.MessagingDestinationPartitionID(strconv.Itoa(c.id))))
	for _, r := range taken {
		if r.span != nil {
			r.span.AddLink(trace.Link{SpanContext: span.SpanContext()})
		}
	}
	return ctx, span
}

// operation begins a span of a Kafka operation on a batch that is traced.
func operation(ctx context.Context, o tracing.Operation, topic string) trace.Span {
	if !tracing.Recording(ctx) {
		return trace.SpanFromContext(ctx)
	}
	name, kind, of := o.On(topic)
	_, span := tracing.Begin(ctx, name, kind, of)
	return span
}

// endTraces ends the spans of a batch's records: with their outcomes, or as given up.
func endTraces(taken []*record, dead []deadletter.Letter, done bool) {
	for _, r := range taken {
		if r.span == nil {
			if done && r.Outcome() == ingest.DeadLetter {
				dead = dead[1:] // letters are in the order of their records
			}
			continue
		}
		switch {
		case !done:
			tracing.Fail(r.span, "given_up")
		case r.Outcome() == ingest.DeadLetter:
			r.span.SetAttributes(tracing.LetterID.String(dead[0].ID), tracing.Reason.String(dead[0].Reason))
			dead = dead[1:]
			fallthrough
		default:
			r.span.SetAttributes(tracing.Outcome.String(string(r.Outcome())))
		}
		r.span.End()
	}
}
