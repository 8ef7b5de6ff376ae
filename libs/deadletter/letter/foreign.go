package letter

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	connectPrefix     = "__connect.errors."
	springPrefix      = "kafka_dlt-"
	springRetryPrefix = "kafka_original-" // of records that came through a retry topic
)

// connectHeader reads a header of Kafka Connect's DeadLetterQueueReporter: texts,
// numbers in decimal. The letter's record bears the source record's timestamp.
func (l *Letter) connectHeader(h kgo.RecordHeader) bool {
	name, ok := strings.CutPrefix(h.Key, connectPrefix)
	if !ok {
		return false
	}
	text := string(h.Value)
	switch name {
	case "topic":
		l.Source.Topic = text
		l.SourceTimestamp = l.FailedAt
	case "partition":
		l.Source.Partition = int32(number(h.Value, 32))
	case "offset":
		l.Source.Offset = number(h.Value, 64)
	case "connector.name":
		l.Group = text
	case "stage":
		l.Stage = text
	case "exception.class.name":
		l.Exception.Class = text
	case "exception.message":
		l.Exception.Message = text
	case "exception.stacktrace":
		l.Exception.Stacktrace = text
	}
	return true
}

// springHeader reads a header of Spring Kafka's DeadLetterPublishingRecoverer:
// partition (int), offset and timestamp (long) are big-endian, the rest is text.
// A record that failed repeatedly has some of them repeatedly: the first are of
// the original, the last exception is the one that counts.
func (l *Letter) springHeader(h kgo.RecordHeader) bool {
	name, ok := strings.CutPrefix(h.Key, "kafka_")
	if !ok {
		// What retry topics and deserializers leave would start a redriven record
		// in the middle of its retries.
		return strings.HasPrefix(h.Key, "retry_topic-") || strings.HasPrefix(h.Key, "springDeserializerException")
	}
	if name == "deliveryAttempt" {
		return true
	}
	if rest, dlt := strings.CutPrefix(name, "dlt-"); dlt {
		name = rest
	} else if !strings.HasPrefix(name, "original-") && !strings.HasPrefix(name, "exception-") {
		return false
	}
	text := string(h.Value)
	name = strings.TrimPrefix(strings.TrimPrefix(name, "key-"), "value-")
	switch name {
	case "original-topic":
		if l.Source.Topic == "" {
			l.Source.Topic = text
		}
	case "original-partition":
		if l.Source.Partition < 0 && len(h.Value) == 4 {
			l.Source.Partition = int32(binary.BigEndian.Uint32(h.Value))
		}
	case "original-offset":
		if l.Source.Offset < 0 && len(h.Value) == 8 {
			l.Source.Offset = int64(binary.BigEndian.Uint64(h.Value))
		}
	case "original-timestamp":
		if l.SourceTimestamp.IsZero() && len(h.Value) == 8 {
			if millis := int64(binary.BigEndian.Uint64(h.Value)); millis >= 0 { // -1: it had none
				l.SourceTimestamp = time.UnixMilli(millis)
			}
		}
	case "original-consumer-group":
		l.Group = text
	case "exception-fqcn":
		l.Exception.Class = text
	case "exception-cause-fqcn":
		l.Exception.Class = text // ListenerExecutionFailedException says nothing
	case "exception-message":
		l.Exception.Message = text
	case "exception-stacktrace":
		l.Exception.Stacktrace = text
	}
	return true
}
