package letter

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
)

// foreignFormat is how another system writes dead letters. To read those of one more
// system, add it to foreignFormats.
type foreignFormat struct {
	name Format
	// marks are prefixes of header names by which the format is recognized.
	marks []string
	// prefixes stand before the names in fields.
	prefixes []string
	// fields are the names of headers. Names in any case, with - or _, are the same.
	fields map[field]string
	// own are prefixes of further headers that the system adds. They are dropped from
	// the source record's headers.
	own []string
	// sourceTime says that the letter's record has the source record's timestamp.
	sourceTime bool
}

// foreignFormats are recognized in this order.
var foreignFormats = []foreignFormat{
	// DeadLetterQueueReporter writes texts, and numbers in decimal.
	{
		name: Connect, marks: []string{"__connect.errors."}, prefixes: []string{"__connect.errors."}, sourceTime: true,
		fields: map[field]string{
			topic: "topic", partition: "partition", offset: "offset", group: "connector.name", stage: "stage",
			class: "exception.class.name", message: "exception.message", stacktrace: "exception.stacktrace",
		},
	},
	// DeadLetterPublishingRecoverer writes numbers in binary. A dead-letter topic has
	// kafka_dlt- before the names, a retry topic kafka_. The cause stands after the
	// exception, which is often ListenerExecutionFailedException and says nothing. What
	// is of retry topics and deserializers would make a redriven record resume its retries.
	{
		name: Spring, marks: []string{"kafka_dlt-", "kafka_original-"}, prefixes: []string{"kafka_dlt-", "kafka_"},
		fields: map[field]string{
			topic: "original-topic", partition: "original-partition", offset: "original-offset", timestamp: "original-timestamp",
			key: "original-key", group: "original-consumer-group",
			class:      "exception-fqcn exception-cause-fqcn key-exception-fqcn value-exception-fqcn",
			message:    "exception-message key-exception-message value-exception-message",
			stacktrace: "exception-stacktrace key-exception-stacktrace value-exception-stacktrace",
		},
		own: []string{"kafka_exception-", "kafka_deliveryAttempt", "retry_topic-", "springDeserializerException"},
	},
	// KafkaMessageChannelBinder writes numbers in binary.
	{
		name: SpringCloudStream, marks: []string{"x-exception-fqcn", "x-original-timestamp-type"}, prefixes: []string{"x-"},
		fields: map[field]string{
			topic: "original-topic", partition: "original-partition", offset: "original-offset", timestamp: "original-timestamp",
			class: "exception-fqcn", message: "exception-message", stacktrace: "exception-stacktrace",
		},
		own: []string{"x-original-timestamp-type", "x-retries", "springDeserializerException", "deliveryAttempt"},
	},
	// KIP-1034. The exception is what its toString gives: class: message.
	{
		name: Streams, marks: []string{"__streams.errors."}, prefixes: []string{"__streams.errors."}, sourceTime: true,
		fields: map[field]string{
			topic: "topic", partition: "partition", offset: "offset", class: "exception", message: "message", stacktrace: "stacktrace",
		},
	},
	// KIP-1191, and the names that KIP-1317 proposes.
	{
		name: ShareGroup, marks: []string{"__dlq.errors.", "_dlq.errors."}, prefixes: []string{"__dlq.errors.", "_dlq.errors."},
		fields: map[field]string{
			topic: "topic original.topic", partition: "partition original.partition", offset: "offset original.offset",
			group: "group", class: "disposition", message: "message",
		},
	},
	// SmallRye Reactive Messaging, as Quarkus uses it.
	{
		name: SmallRye, marks: []string{"dead-letter-reason", "dead-letter-exception-class-name", "dead-letter-topic"}, prefixes: []string{"dead-letter-"},
		fields: map[field]string{
			topic: "topic", partition: "partition", offset: "offset", class: "exception-class-name cause-class-name", message: "reason cause",
		},
	},
	// What a JetStream server adds to messages that it republishes or returns.
	{
		name: NATS, marks: []string{"Nats-Stream"}, prefixes: []string{"Nats-"},
		fields: map[field]string{stream: "Stream", offset: "Sequence", timestamp: "Time-Stamp"}, own: []string{"Nats-Subject", "Nats-Last-Sequence"},
	},
	// Made by hand, or by Karafka (source_topic), Watermill (topic_poisoned) and RabbitMQ
	// (x-death): names that many use. One of marks must be there.
	{
		name: Custom,
		marks: []string{
			"original-topic", "source-topic", "orig-topic", "failed-topic", "topic-poisoned", "original.topic", "source.topic", "originaltopic", "sourcetopic",
			"death", "error", "errormessage", "exception", "reason-poisoned",
		},
		prefixes: []string{"x-", "dlq-", "dlt-", "dlq.", "dlt.", "kafka-", ""},
		fields: map[field]string{
			topic:     "original-topic source-topic orig-topic failed-topic topic-poisoned original.topic source.topic originaltopic sourcetopic first-death-queue",
			partition: "original-partition source-partition orig-partition failed-partition original.partition source.partition originalpartition sourcepartition",
			offset:    "original-offset source-offset orig-offset failed-offset original.offset source.offset originaloffset sourceoffset",
			timestamp: "original-timestamp source-timestamp original.timestamp originaltimestamp",
			key:       "original-key source-key original.key originalkey",
			group:     "consumer-group original-consumer-group source-consumer-group group-id consumergroup subscriber-poisoned",
			class: "error-class error-type error-code exception-class exception-type exception-fqcn exception-name error.class error.type exception.class " +
				"errorclass errortype exceptionclass exceptiontype first-death-reason",
			message:    "error error-message error-reason exception exception-message failure-reason reason error.message exception.message errormessage exceptionmessage reason-poisoned",
			stacktrace: "stacktrace stack-trace error-stack error-stacktrace exception-stacktrace error.stacktrace exception.stacktrace",
			failedAt:   "failed-at error-timestamp failure-timestamp error-time failedat",
			death:      "death",
		},
		own: []string{"x-first-death-", "x-retry-count", "x-retries", "x-attempts", "retry-count", "source-attempts", "source-trace-id", "handler-poisoned"},
	},
}

// field is what a header says of a letter.
type field int

const (
	topic field = iota
	partition
	offset
	timestamp
	key
	stream // of NATS
	group
	stage
	class
	message
	stacktrace
	failedAt
	death // RabbitMQ's x-death: a JSON array, the newest first
)

// take reads a header. The headers of a record that failed repeatedly are there
// repeatedly: the first place is the original's, the last exception is the one that counts.
func (f field) take(l *Letter, value []byte) {
	text := strings.Trim(string(value), `"`) // Spring Cloud Stream may write texts as JSON
	switch f {
	case topic:
		l.Source.Topic = cmp.Or(l.Source.Topic, text)
	case stream:
		l.Source.Topic, l.Source.Partition = deadletter.NATSTopic(text), 0
	case partition:
		if n := foreignNumber(value); l.Source.Partition < 0 && n <= 1<<31-1 {
			l.Source.Partition = int32(n)
		}
	case offset:
		if l.Source.Offset < 0 {
			l.Source.Offset = foreignNumber(value)
		}
	case timestamp:
		if l.SourceTimestamp.IsZero() {
			l.SourceTimestamp = foreignTime(value)
		}
	case failedAt:
		if at := foreignTime(value); !at.IsZero() {
			l.FailedAt = at
		}
	case key:
		l.SourceKey = value
	case group:
		l.Group = text
	case stage:
		l.Stage = text
	case class:
		l.Exception.Class, _, _ = strings.Cut(text, ":")
	case message:
		l.Exception.Message = text
	case stacktrace:
		l.Exception.Stacktrace = text
	case death:
		var deaths []struct {
			Queue  string `json:"queue"`
			Reason string `json:"reason"`
		}
		if json.Unmarshal(value, &deaths) == nil && len(deaths) > 0 {
			l.Source.Topic = cmp.Or(l.Source.Topic, deaths[len(deaths)-1].Queue)
			l.Exception.Class = cmp.Or(l.Exception.Class, deaths[0].Reason)
		}
	}
}

// foreignNumber reads decimal digits, also as a JSON string, or Java's big-endian int and long, which begin with
// a zero byte as long as they are reasonable; -1: neither.
func foreignNumber(value []byte) int64 {
	binary32, binary64 := len(value) == 4 && value[0] == 0, len(value) == 8 && value[0] == 0
	switch {
	case binary32:
		return int64(binary.BigEndian.Uint32(value))
	case binary64:
		return int64(binary.BigEndian.Uint64(value))
	}
	return max(number(bytes.Trim(value, `"`), 64), -1)
}

// foreignTime reads RFC 3339, or milliseconds or seconds since 1970; zero: neither.
func foreignTime(value []byte) time.Time {
	if at := instant(value); !at.IsZero() {
		return at
	}
	const seconds = 1 << 34 // the year 2514, or January 1970 in milliseconds
	switch n := foreignNumber(value); {
	case n < 0: // Spring Kafka writes -1 for none
		return time.Time{}
	case n < seconds && n > 0 && len(value) != 8:
		return time.Unix(n, 0)
	default:
		return time.UnixMilli(n)
	}
}

// names finds fields by the names of headers, in the spelling of spelled.
var names = func() []map[string]field {
	all := make([]map[string]field, len(foreignFormats))
	for i, format := range foreignFormats {
		all[i] = map[string]field{}
		for f, list := range format.fields {
			for name := range strings.FieldsSeq(list) {
				for _, prefix := range format.prefixes {
					all[i][spelled(prefix+name)] = f
				}
			}
		}
	}
	return all
}()

func spelled(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// foreign reads a letter that another system wrote. Such a letter is identified
// by its own place.
func (l *Letter) foreign(r *kgo.Record) {
	l.ID = deadletter.ID(deadletter.Source{
		Topic: r.Topic, Partition: int(r.Partition), Offset: r.Offset, Timestamp: r.Timestamp, Value: r.Value,
	})
	l.Source.Partition, l.Source.Offset = -1, -1
	format, fields := formatOf(r)
	if l.Format = format.name; format.sourceTime {
		l.SourceTimestamp = r.Timestamp
	}
	for _, h := range r.Headers {
		name := spelled(h.Key)
		switch f, known := fields[name]; {
		case h.Key == deadletter.HeaderRedriveCount:
			l.Redrives = int(max(number(h.Value, 32), 0))
		case h.Key == deadletter.HeaderOrigin:
			l.Origin = string(h.Value)
		case known:
			f.take(l, h.Value)
		case !format.owns(name):
			l.SourceHeaders = append(l.SourceHeaders, h)
		}
	}
	if l.Source.Topic == "" {
		l.Source, l.SourceTimestamp = Place{}, time.Time{}
	}
	if l.Exception.Class != "" {
		l.Reason = l.Exception.Class[strings.LastIndexByte(l.Exception.Class, '.')+1:]
	}
}

func formatOf(r *kgo.Record) (*foreignFormat, map[string]field) {
	for i := range foreignFormats {
		format := &foreignFormats[i]
		if slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return format.marked(spelled(h.Key)) }) {
			return format, names[i]
		}
	}
	return &foreignFormat{name: Plain}, nil
}

func (f *foreignFormat) marked(name string) bool {
	if f.name == Custom {
		for _, prefix := range f.prefixes {
			if bare, ok := strings.CutPrefix(name, prefix); ok && slices.ContainsFunc(f.marks, func(mark string) bool {
				return bare == mark || strings.HasPrefix(bare, mark+"-") || strings.HasPrefix(bare, mark+".")
			}) {
				return true
			}
		}
		return false
	}
	return hasAnyPrefix(name, f.marks)
}

func (f *foreignFormat) owns(name string) bool {
	return hasAnyPrefix(name, f.own) || f.name != Custom && hasAnyPrefix(name, f.marks)
}

func hasAnyPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, spelled(p)) })
}
