package tracing

import (
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

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
