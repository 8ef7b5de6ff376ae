package letter

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

var at = time.UnixMilli(1_700_000_000_123).UTC()

// recordOf is a letter as the worker writes it.
func recordOf(l deadletter.Letter) *kgo.Record {
	r := &kgo.Record{Topic: "orders.dlq", Partition: 2, Offset: 9, Key: []byte(l.ID), Value: l.Value, Timestamp: at}
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

func TestOurLetter(t *testing.T) {
	source := deadletter.Source{
		Topic: "orders", Partition: 3, Offset: 17, Timestamp: at, Key: []byte("k"), Value: []byte("{"),
		Headers: []deadletter.Header{{Key: "trace", Value: []byte("1")}, {Key: deadletter.HeaderRedriveCount, Value: []byte("2")}, {Key: deadletter.HeaderOrigin, Value: []byte("orders/3/1/00000000")}},
	}
	failures := []model.FieldError{{Rule: "not_json", Message: "is not JSON"}}
	l := Parse(recordOf(deadletter.New(source, deadletter.Cause{Reason: "not_json", Stage: deadletter.StageDecode, Errors: failures}, "orderhub", at.Add(time.Second))))
	require.Equal(t, Orderhub, l.Format)
	require.Equal(t, deadletter.ID(source), l.ID)
	require.Equal(t, []any{"not_json", "decode", Place{"orders", 3, 17}, at, []byte("k"), "orderhub", 2, "orders/3/1/00000000", int64(1)},
		[]any{l.Reason, l.Stage, l.Source, l.SourceTimestamp, l.SourceKey, l.Group, l.Redrives, l.Origin, l.Size()})
	require.Equal(t, at.Add(time.Second), l.FailedAt)
	require.Equal(t, failures, l.Errors())
	require.Equal(t, []kgo.RecordHeader{{Key: "trace", Value: []byte("1")}}, l.SourceHeaders)
}

func TestOurLetterOfANullAndOfACutValue(t *testing.T) {
	l := Parse(recordOf(deadletter.New(deadletter.Source{Topic: "orders"}, deadletter.Cause{}, "g", at)))
	require.Nil(t, l.Value)
	require.Nil(t, l.SourceKey)

	whole := deadletter.New(deadletter.Source{Topic: "orders", Value: make([]byte, 100)}, deadletter.Cause{}, "g", at)
	whole.Truncate(10)
	l = Parse(recordOf(whole))
	require.EqualValues(t, 100, l.Size())
	require.Len(t, l.Value, 10)
}

// The headers are those that DeadLetterQueueReporter writes.
func TestConnectLetter(t *testing.T) {
	r := &kgo.Record{Topic: "connect.dlq", Offset: 5, Key: []byte("k"), Value: []byte("v"), Timestamp: at, Headers: headers(
		"own", "1",
		"__connect.errors.topic", "orders", "__connect.errors.partition", "4", "__connect.errors.offset", "123456789012",
		"__connect.errors.connector.name", "sink", "__connect.errors.task.id", "0", "__connect.errors.stage", "VALUE_CONVERTER",
		"__connect.errors.class.name", "org.apache.kafka.connect.json.JsonConverter",
		"__connect.errors.exception.class.name", "org.apache.kafka.connect.errors.DataException",
		"__connect.errors.exception.message", "Converting byte[] failed", "__connect.errors.exception.stacktrace", "at …")}
	l := Parse(r)
	require.Equal(t, Connect, l.Format)
	require.Equal(t, []any{"DataException", "VALUE_CONVERTER", Place{"orders", 4, 123456789012}, at, []byte("k"), "sink"},
		[]any{l.Reason, l.Stage, l.Source, l.SourceTimestamp, l.SourceKey, l.Group})
	require.Equal(t, headers("own", "1"), l.SourceHeaders)
	require.Equal(t, deadletter.ID(deadletter.Source{Topic: "connect.dlq", Offset: 5, Timestamp: at, Value: []byte("v")}), l.ID)
	require.Equal(t, l.ID, l.Origin)
	require.Equal(t, []model.FieldError{{Rule: "DataException", Message: "org.apache.kafka.connect.errors.DataException"}}, l.Errors())
}

// The headers are those that DeadLetterPublishingRecoverer writes: numbers in
// binary. A record that failed again has the headers of both failures.
func TestSpringLetter(t *testing.T) {
	once := func(topic string, partition uint32, offset uint64, cause string) []kgo.RecordHeader {
		h := headers("kafka_dlt-original-topic", topic, "kafka_dlt-original-timestamp-type", "CREATE_TIME",
			"kafka_dlt-original-consumer-group", "billing",
			"kafka_dlt-exception-fqcn", "org.springframework.kafka.listener.ListenerExecutionFailedException",
			"kafka_dlt-exception-cause-fqcn", cause, "kafka_dlt-exception-message", "Listener failed", "kafka_dlt-exception-stacktrace", "…")
		return append(h,
			kgo.RecordHeader{Key: "kafka_dlt-original-partition", Value: binary.BigEndian.AppendUint32(nil, partition)},
			kgo.RecordHeader{Key: "kafka_dlt-original-offset", Value: binary.BigEndian.AppendUint64(nil, offset)},
			kgo.RecordHeader{Key: "kafka_dlt-original-timestamp", Value: binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))})
	}
	r := &kgo.Record{Topic: "orders.DLT", Value: []byte("v"), Timestamp: at.Add(time.Hour)}
	r.Headers = append(once("orders", 1, 1<<40, "java.lang.IllegalStateException"), once("orders-retry", 0, 2, "java.lang.NullPointerException")...)
	r.Headers = append(r.Headers, headers("own", "1")...)
	l := Parse(r)
	require.Equal(t, Spring, l.Format)
	require.Equal(t, []any{"NullPointerException", Place{"orders", 1, 1 << 40}, "billing"}, []any{l.Reason, l.Source, l.Group})
	require.True(t, at.Equal(l.SourceTimestamp))
	require.Equal(t, at.Add(time.Hour), l.FailedAt)
	require.Equal(t, headers("own", "1"), l.SourceHeaders)
}

func TestPlainAndHostileRecords(t *testing.T) {
	l := Parse(&kgo.Record{Topic: "x", Value: []byte("v"), Headers: headers("own", "1")})
	require.Equal(t, []any{Plain, ReasonUnknown, Place{}}, []any{l.Format, l.Reason, l.Source})
	require.Empty(t, l.Errors())
	for _, hostile := range [][]kgo.RecordHeader{
		headers("kafka_dlt-original-topic", "t", "kafka_dlt-original-offset", "12", "kafka_dlt-original-partition", ""),
		headers("__connect.errors.topic", "t", "__connect.errors.partition", "many"),
		headers("__connect.errors.topic", "t", "__connect.errors.partition", "-1", "__connect.errors.offset", "-7"),
	} {
		require.Negative(t, Parse(&kgo.Record{Headers: hostile}).Source.Partition, "unknown")
	}
	l = Parse(&kgo.Record{Headers: headers("dlq-reason", "", "dlq-errors", "[", "dlq-redrive-count", "-3", "dlq-failed-at", "now", "dlq-truncated", "{")})
	require.Equal(t, 0, l.Redrives)
	require.Empty(t, l.Errors())
}

func headers(pairs ...string) (h []kgo.RecordHeader) {
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return h
}

// TestALetterIsFoundByAUIDWithUnseenCharacters has the uid that was refused for them.
func TestALetterIsFoundByAUIDWithUnseenCharacters(t *testing.T) {
	filter := Filter{UID: "b563-1"}
	for _, l := range []Letter{
		{SourceKey: []byte("\ufeffb563-1")}, {Value: []byte(`{"order_uid" : "b563-1` + "\u200b" + `"}`)}, {Value: []byte(`broken "order_uid":"b563-1"`)}, {SourceKey: []byte("b563-1")},
	} {
		require.True(t, filter.Matches(&l), "%q %q", l.SourceKey, l.Value)
	}
	for _, l := range []Letter{{SourceKey: []byte("b563-10")}, {Value: []byte(`{"order_uid":"b563-10"}`)}, {Value: []byte(`{"order_uid":b563-1"}`)}, {Value: []byte(`{"order_uid":"b563-1`)}} {
		require.False(t, filter.Matches(&l), "%q %q", l.SourceKey, l.Value)
	}
	for text, is := range map[string]bool{"orders/0/17": true, "orders/0/17/9f3a1c2e": true, "nats/ORDERS/17/9f3a1c2e": true, "http://x/letter/1": false, "orders/0": false, "b563-1": false} {
		require.Equal(t, is, IsID(text), text)
	}
}
