package letter

import (
	"encoding/binary"
	"strings"
	"time"
)

// A setter takes a header's value into the letter.
type setter func(l *Letter, value []byte)

// A foreignFormat is how another system writes dead letters.
type foreignFormat struct {
	name Format
	// prefixes of header names by which the format is recognized.
	prefixes []string
	// fields reads headers, by their names.
	fields map[string]setter
	// own are prefixes of further headers that the system adds. They are
	// dropped from the source record's headers.
	own []string
}

func text(field func(*Letter) *string) setter {
	return func(l *Letter, value []byte) { *field(l) = string(value) }
}

func group(l *Letter) *string      { return &l.Group }
func stage(l *Letter) *string      { return &l.Stage }
func class(l *Letter) *string      { return &l.Exception.Class }
func message(l *Letter) *string    { return &l.Exception.Message }
func stacktrace(l *Letter) *string { return &l.Exception.Stacktrace }

// foreignFormats are recognized in this order.
var foreignFormats = []foreignFormat{
	// Kafka Connect's DeadLetterQueueReporter writes texts, and numbers in
	// decimal. The letter's record has the source record's timestamp.
	{
		name: Connect, prefixes: []string{"__connect.errors."}, own: []string{"__connect.errors."},
		fields: map[string]setter{
			"__connect.errors.topic": func(l *Letter, value []byte) {
				l.Source.Topic, l.SourceTimestamp = string(value), l.FailedAt
			},
			"__connect.errors.partition":            func(l *Letter, value []byte) { l.Source.Partition = int32(number(value, 32)) },
			"__connect.errors.offset":               func(l *Letter, value []byte) { l.Source.Offset = number(value, 64) },
			"__connect.errors.connector.name":       text(group),
			"__connect.errors.stage":                text(stage),
			"__connect.errors.exception.class.name": text(class),
			"__connect.errors.exception.message":    text(message),
			"__connect.errors.exception.stacktrace": text(stacktrace),
		},
	},
	// Spring Kafka's DeadLetterPublishingRecoverer writes numbers as Java's
	// big-endian int and long, the rest as text. The headers of a record that
	// failed repeatedly are there repeatedly: the first place is the original's,
	// the last exception is the one that counts. Names of retry topics and
	// deserializers are dropped: they would make a redriven record resume its
	// retries.
	{
		name: Spring, prefixes: []string{"kafka_dlt-", "kafka_original-"},
		own:    []string{"kafka_dlt-", "kafka_original-", "kafka_exception-", "kafka_deliveryAttempt", "retry_topic-", "springDeserializerException"},
		fields: springFields(),
	},
}

func springFields() map[string]setter {
	fields := map[string]setter{
		"original-topic": func(l *Letter, value []byte) {
			if l.Source.Topic == "" {
				l.Source.Topic = string(value)
			}
		},
		"original-partition": func(l *Letter, value []byte) {
			if l.Source.Partition < 0 && len(value) == 4 {
				l.Source.Partition = int32(binary.BigEndian.Uint32(value))
			}
		},
		"original-offset": func(l *Letter, value []byte) {
			if l.Source.Offset < 0 && len(value) == 8 {
				l.Source.Offset = int64(binary.BigEndian.Uint64(value))
			}
		},
		"original-timestamp": func(l *Letter, value []byte) {
			if l.SourceTimestamp.IsZero() && len(value) == 8 {
				if millis := int64(binary.BigEndian.Uint64(value)); millis >= 0 { // -1: it had none
					l.SourceTimestamp = time.UnixMilli(millis)
				}
			}
		},
		"original-consumer-group": text(group),
	}
	// The cause overwrites the exception: ListenerExecutionFailedException says nothing.
	exception := map[string]setter{
		"exception-fqcn": text(class), "exception-cause-fqcn": text(class),
		"exception-message": text(message), "exception-stacktrace": text(stacktrace),
	}
	for name, set := range exception {
		for _, of := range []string{"", "key-", "value-"} {
			fields[of+name] = set
		}
	}
	// A dead-letter topic has kafka_dlt- before these names, a retry topic kafka_.
	named := map[string]setter{}
	for name, set := range fields {
		named["kafka_dlt-"+name], named["kafka_"+name] = set, set
	}
	return named
}

func hasAnyPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
