package letter

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

// connectContext adds headers as Kafka Connect's DeadLetterQueueReporter does
// (populateContextHeaders): the record's own first, all values texts in UTF-8, a
// name that is there already left as it is.
func connectContext(own []kgo.RecordHeader, topic, partition, offset, stage, exception, message string) []kgo.RecordHeader {
	all := append([]kgo.RecordHeader{}, own...)
	add := func(name, value string) {
		for _, h := range all {
			if h.Key == "__connect.errors."+name {
				return
			}
		}
		all = append(all, kgo.RecordHeader{Key: "__connect.errors." + name, Value: []byte(value)})
	}
	add("topic", topic)
	add("partition", partition)
	add("offset", offset)
	add("connector.name", "orders-sink")
	add("task.id", "0")
	add("stage", stage)
	add("class.name", "org.apache.kafka.connect.json.JsonConverter")
	if exception != "" {
		add("exception.class.name", exception)
		add("exception.message", message)
		add("exception.stacktrace", exception+": "+message+"\n\tat org.apache.kafka.connect.json.JsonConverter.toConnectData(JsonConverter.java:333)\n")
	}
	return all
}

func TestConnectRecords(t *testing.T) {
	const data = "org.apache.kafka.connect.errors.DataException"
	l := Parse(&kgo.Record{Topic: "d", Timestamp: at, Headers: connectContext(headers("traceparent", "00-1"), "orders", "11", "9223372036854775807", "VALUE_CONVERTER", data, "bad")})
	require.Equal(t, []any{Connect, Place{"orders", 11, 1<<63 - 1}, "DataException", "bad", "orders-sink", "VALUE_CONVERTER"},
		[]any{l.Format, l.Source, l.Reason, l.Exception.Message, l.Group, l.Stage})
	require.Equal(t, headers("traceparent", "00-1"), l.SourceHeaders)
	require.Contains(t, l.Exception.Stacktrace, "JsonConverter.java:333")

	// Without an error, and without a record.
	l = Parse(&kgo.Record{Headers: connectContext(nil, "", "-1", "-1", "TASK_PUT", "", "")})
	require.Equal(t, []any{Connect, Place{}, ReasonUnknown}, []any{l.Format, l.Source, l.Reason})
	require.Empty(t, l.Errors())

	// A message that is null is a header without a value.
	nulled := append(connectContext(nil, "orders", "0", "1", "VALUE_CONVERTER", "", ""), kgo.RecordHeader{Key: "__connect.errors.exception.class.name", Value: []byte("java.lang.NullPointerException")},
		kgo.RecordHeader{Key: "__connect.errors.exception.message"})
	require.Equal(t, []any{"NullPointerException", ""}, []any{Parse(&kgo.Record{Headers: nulled}).Reason, Parse(&kgo.Record{Headers: nulled}).Exception.Message})
}

// springFailure is what Spring Kafka's DeadLetterPublishingRecoverer knows of a
// failure.
type springFailure struct {
	topic                    string
	partition                int32
	offset, timestamp        int64
	group                    string // of a ListenerExecutionFailedException
	exception, cause, text   string
	key                      bool // of deserializing the key
	appendOriginal, stripped bool // its settings appendOriginalHeaders, stripPreviousExceptionHeaders
}

// add adds headers as it does: numbers as Java's ByteBuffer writes them, which is
// big-endian.
func (f springFailure) add(all []kgo.RecordHeader) []kgo.RecordHeader {
	original := func(name string, value []byte) {
		for _, h := range all {
			if h.Key == "kafka_dlt-"+name && !f.appendOriginal {
				return
			}
		}
		all = append(all, kgo.RecordHeader{Key: "kafka_dlt-" + name, Value: value})
	}
	original("original-topic", []byte(f.topic))
	original("original-partition", binary.BigEndian.AppendUint32(nil, uint32(f.partition)))
	original("original-offset", binary.BigEndian.AppendUint64(nil, uint64(f.offset)))
	original("original-timestamp", binary.BigEndian.AppendUint64(nil, uint64(f.timestamp)))
	original("original-timestamp-type", []byte("CreateTime"))
	if f.group != "" {
		original("original-consumer-group", []byte(f.group))
	}
	exception := func(name, value string) {
		name = "kafka_dlt-" + name
		if f.stripped {
			var kept []kgo.RecordHeader
			for _, h := range all {
				if h.Key != name {
					kept = append(kept, h)
				}
			}
			all = kept
		}
		all = append(all, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	prefix := ""
	if f.key {
		prefix = "key-"
	}
	exception(prefix+"exception-fqcn", f.exception)
	if f.cause != "" {
		exception("exception-cause-fqcn", f.cause)
	}
	if f.text != "" {
		exception(prefix+"exception-message", f.text)
	}
	exception(prefix+"exception-stacktrace", f.exception+": "+f.text+"\n\tat com.example.Listener.on(Listener.java:7)\n")
	return all
}

const listenerFailed = "org.springframework.kafka.listener.ListenerExecutionFailedException"

func TestSpringRecords(t *testing.T) {
	own := headers("__TypeId__", "com.example.Order")
	first := springFailure{"orders", 3, 1 << 33, at.UnixMilli(), "billing", listenerFailed, "java.lang.IllegalStateException", "Listener failed", false, true, true}
	l := Parse(&kgo.Record{Topic: "orders.DLT", Timestamp: at.Add(time.Hour), Headers: first.add(own)})
	require.Equal(t, []any{Spring, Place{"orders", 3, 1 << 33}, "IllegalStateException", "Listener failed", "billing"},
		[]any{l.Format, l.Source, l.Reason, l.Exception.Message, l.Group})
	require.True(t, at.Equal(l.SourceTimestamp))
	require.Equal(t, own, l.SourceHeaders)
	require.Equal(t, []model.FieldError{{Rule: "IllegalStateException", Message: "java.lang.IllegalStateException"}}, l.Errors())

	// Failed again in another topic, by either setting of appendOriginalHeaders.
	for _, appends := range []bool{true, false} {
		again := springFailure{"orders-retry", 0, 5, at.UnixMilli() + 9, "billing-retry", listenerFailed, "java.io.IOException", "again", false, appends, true}
		l = Parse(&kgo.Record{Headers: again.add(first.add(own))})
		require.Equal(t, []any{Place{"orders", 3, 1 << 33}, "IOException", "again"}, []any{l.Source, l.Reason, l.Exception.Message})
		require.True(t, at.Equal(l.SourceTimestamp))
	}

	// What could not be deserialized has no listener; a record without timestamp -1.
	broken := springFailure{"orders", 0, 0, -1, "", "org.springframework.kafka.support.serializer.DeserializationException", "", "failed to deserialize", true, true, true}
	l = Parse(&kgo.Record{Headers: append(broken.add(nil), kgo.RecordHeader{Key: "springDeserializerExceptionKey", Value: []byte{0xac, 0xed}})})
	require.Equal(t, []any{"DeserializationException", Place{"orders", 0, 0}, "failed to deserialize"}, []any{l.Reason, l.Source, l.Exception.Message})
	require.True(t, l.SourceTimestamp.IsZero())
	require.Empty(t, l.SourceHeaders)
}

// A record that went through retry topics bears how far it was, and starts anew
// when it is redriven.
func TestSpringRetryTopics(t *testing.T) {
	retried := append(headers("trace", "1"), []kgo.RecordHeader{
		{Key: "retry_topic-attempts", Value: binary.BigEndian.AppendUint32(nil, 3)},
		{Key: "retry_topic-original-timestamp", Value: binary.BigEndian.AppendUint64(nil, 1)},
		{Key: "retry_topic-backoff-timestamp", Value: binary.BigEndian.AppendUint64(nil, 2)},
		{Key: "kafka_deliveryAttempt", Value: binary.BigEndian.AppendUint32(nil, 1)},
		{Key: "kafka_original-topic", Value: []byte("orders")},
		{Key: "kafka_original-partition", Value: binary.BigEndian.AppendUint32(nil, 2)},
		{Key: "kafka_original-offset", Value: binary.BigEndian.AppendUint64(nil, 77)},
		{Key: "kafka_exception-fqcn", Value: []byte("a.b.FirstException")},
		{Key: "kafka_exception-message", Value: []byte("no")},
	}...)
	l := Parse(&kgo.Record{Headers: retried})
	require.Equal(t, []any{Spring, Place{"orders", 2, 77}, "FirstException"}, []any{l.Format, l.Source, l.Reason})
	require.Equal(t, headers("trace", "1"), l.SourceHeaders)
}

func int32Header(name string, n uint32) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: binary.BigEndian.AppendUint32(nil, n)}
}

func int64Header(name string, n uint64) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: binary.BigEndian.AppendUint64(nil, n)}
}

// The headers are those that each system's source writes. trace is the source record's.
func TestFormatsOfOtherSystems(t *testing.T) {
	trace := headers("traceparent", "00-1")
	for name, c := range map[string]struct {
		headers []kgo.RecordHeader
		format  Format
		source  Place
		reason  string
		message string
		written time.Time
	}{
		"Spring Cloud Stream": {
			append(headers("x-original-topic", "orders", "x-original-timestamp-type", "CreateTime", "x-exception-fqcn", "org.example.SampleException",
				"x-exception-message", "sample failure", "x-exception-stacktrace", "at …"),
				int32Header("x-original-partition", 0), int64Header("x-original-offset", 12), int64Header("x-original-timestamp", 1717000000000)),
			SpringCloudStream, Place{"orders", 0, 12}, "SampleException", "sample failure", time.UnixMilli(1717000000000),
		},
		"Kafka Streams": {
			headers("__streams.errors.exception", "org.apache.kafka.common.errors.SerializationException: Size of data is not 8",
				"__streams.errors.message", "Size of data is not 8", "__streams.errors.stacktrace", "at …", "__streams.errors.topic", "orders",
				"__streams.errors.partition", "2", "__streams.errors.offset", "345"),
			Streams, Place{"orders", 2, 345}, "SerializationException", "Size of data is not 8", at,
		},
		"a share group": {
			headers("__dlq.errors.topic", "orders", "__dlq.errors.partition", "1", "__dlq.errors.offset", "9", "__dlq.errors.group", "billing",
				"__dlq.errors.delivery.count", "5", "__dlq.errors.message", "Offset rejected by client."),
			ShareGroup, Place{"orders", 1, 9}, ReasonUnknown, "Offset rejected by client.", time.Time{},
		},
		"SmallRye": {
			headers("dead-letter-exception-class-name", "java.lang.RuntimeException", "dead-letter-cause-class-name", "java.io.IOException",
				"dead-letter-reason", "outer", "dead-letter-cause", "inner", "dead-letter-topic", "orders", "dead-letter-partition", "3", "dead-letter-offset", "4"),
			SmallRye, Place{"orders", 3, 4}, "IOException", "inner", time.Time{},
		},
		"NATS": {
			headers("Nats-Stream", "ORDERS", "Nats-Subject", "orders.new", "Nats-Sequence", "77", "Nats-Last-Sequence", "0", "Nats-Time-Stamp", "2024-05-29T10:00:00.123Z"),
			NATS, Place{"nats/ORDERS", 0, 77}, ReasonUnknown, "", time.Date(2024, 5, 29, 10, 0, 0, 123e6, time.UTC),
		},
		"made by hand, with hyphens": {
			headers("x-original-topic", "orders", "x-original-partition", "1234", "x-original-offset", "12345678", "x-error", "timeout: 3 s", "x-failed-at", "2024-05-29T10:00:00Z"),
			Custom, Place{"orders", 1234, 12345678}, ReasonUnknown, "timeout: 3 s", time.Time{},
		},
		"made by hand, with underscores, without partition": {
			headers("original_topic", "orders", "error_type", "ValueError", "error", "bad zip", "retry_count", "3"),
			Custom, Place{"orders", -1, -1}, "ValueError", "bad zip", time.Time{},
		},
		"made by hand, values as JSON": {
			headers("x-original-topic", `"orders"`, "x-original-partition", `"2"`, "x-original-offset", `"17"`),
			Custom, Place{"orders", 2, 17}, ReasonUnknown, "", time.Time{},
		},
		"made by hand, in camel case": {
			headers("originalTopic", "orders", "originalPartition", "0", "originalOffset", "1", "errorMessage", "no"),
			Custom, Place{"orders", 0, 1}, ReasonUnknown, "no", time.Time{},
		},
		"Karafka": {
			headers("source_topic", "orders", "source_partition", "0", "source_offset", "6", "source_consumer_group", "app", "source_attempts", "2", "source_trace_id", "a-b"),
			Custom, Place{"orders", 0, 6}, ReasonUnknown, "", time.Time{},
		},
		"Watermill": {
			headers("topic_poisoned", "orders", "reason_poisoned", "no handler", "handler_poisoned", "h", "subscriber_poisoned", "s"),
			Custom, Place{"orders", -1, -1}, ReasonUnknown, "no handler", time.Time{},
		},
		"RabbitMQ": {
			headers("x-death", `[{"reason":"rejected","queue":"retry","count":2},{"reason":"expired","queue":"orders"}]`, "x-first-death-exchange", "e"),
			Custom, Place{"orders", -1, -1}, "rejected", "", time.Time{},
		},
		"an error alone": {headers("error", "bad"), Custom, Place{}, ReasonUnknown, "bad", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			l := Parse(&kgo.Record{Topic: "letters", Timestamp: at, Headers: append(append([]kgo.RecordHeader{}, trace...), c.headers...)})
			require.Equal(t, []any{c.format, c.source, c.reason, c.message}, []any{l.Format, l.Source, l.Reason, l.Exception.Message})
			require.True(t, c.written.Equal(l.SourceTimestamp), l.SourceTimestamp)
			require.Equal(t, trace, l.SourceHeaders, "what the system added is gone")
		})
	}
}

// Our letters have the headers by which other tools find their source, and these read
// like a letter of Spring Kafka.
func TestOurLettersForOtherTools(t *testing.T) {
	source := deadletter.Source{
		Topic: "orders", Partition: 3, Offset: 17, Timestamp: at, Key: []byte("k"), Value: []byte("{"),
		Headers: []deadletter.Header{{Key: "trace", Value: []byte("1")}, {Key: deadletter.SpringTopic, Value: []byte("forged")}},
	}
	failures := []model.FieldError{{Path: "locale", Rule: "bcp47", Message: "must be a language"}}
	record := recordOf(deadletter.New(source, deadletter.Cause{Reason: "invalid", Errors: failures}, "orderhub", at))
	require.Equal(t, headers("trace", "1"), Parse(record).SourceHeaders, "a redrive sends none of them")

	var without []kgo.RecordHeader
	for _, h := range record.Headers {
		if !strings.HasPrefix(h.Key, "dlq-") {
			without = append(without, h)
		}
	}
	l := Parse(&kgo.Record{Topic: "copy", Key: record.Key, Headers: without})
	require.Equal(t, []any{Spring, Place{"orders", 3, 17}, "invalid", "locale: must be a language", []byte("k"), "orderhub"},
		[]any{l.Format, l.Source, l.Reason, l.Exception.Message, l.SourceKey, l.Group})
	require.True(t, at.Equal(l.SourceTimestamp))

	nats := deadletter.New(deadletter.Source{Topic: deadletter.NATSTopic("S"), Value: []byte("{")}, deadletter.Cause{}, "g", at)
	for _, h := range nats.Headers {
		require.False(t, deadletter.ForOthers(h.Key), "no tool can send to a NATS stream by them")
	}
}
