package letter

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

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
