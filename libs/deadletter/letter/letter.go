// Package letter reads dead letters from records, by whomever they were written:
// our worker, Kafka Connect, Spring Kafka, or somebody who left no headers.
package letter

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

// Format says who wrote a letter.
type Format string

// The formats.
const (
	Orderhub Format = "orderhub"
	Connect  Format = "connect" // Kafka Connect: __connect.errors.*
	Spring   Format = "spring"  // Spring Kafka: kafka_dlt-*
	Plain    Format = "plain"   // no headers that we know
)

// ReasonUnknown is the reason of a letter that gives none.
const ReasonUnknown = "unknown"

// Place is where a record stands.
type Place struct {
	Topic     string
	Partition int32
	Offset    int64
}

// String is topic/partition/offset.
func (p Place) String() string {
	return p.Topic + "/" + strconv.Itoa(int(p.Partition)) + "/" + strconv.FormatInt(p.Offset, 10)
}

// Letter is a dead letter. It shares the record's bytes.
type Letter struct {
	ID     string
	Format Format
	Place  Place // in the topic of dead letters
	// Key is the key of the letter's own record.
	Key []byte

	Reason string // a stable code; the exception's class where others wrote the letter
	Stage  string
	// FailedAt is when the record failed; of letters that don't say so, the
	// time of the letter's record.
	FailedAt time.Time

	// Source is where the record came from; Topic is empty where that is unknown.
	Source          Place
	SourceTimestamp time.Time // zero: unknown
	SourceKey       []byte    // nil: null
	// SourceHeaders are those that the source record had itself.
	SourceHeaders []kgo.RecordHeader

	Group    string // the consumer group or the connector
	Redrives int
	Origin   string // id of the first letter in a row of redrives
	// EditedBy and EditedFrom say who changed the value in a redrive before, and
	// in which letter it is as it was. Both are among SourceHeaders too.
	EditedBy, EditedFrom string
	Value                []byte // nil: the source's value is null
	Truncated            *deadletter.Truncation

	// ErrorsJSON is what the header says; see Errors.
	ErrorsJSON []byte
	Exception  Exception // of Connect and Spring

	head *int64 // the size, of a letter without its value
}

// Exception is what a Java service says of a failure. It may quote the value.
type Exception struct{ Class, Message, Stacktrace string }

// Parse reads a record as a letter. It never fails: what can't be read is left
// out, and what has no headers is a plain letter.
func Parse(r *kgo.Record) Letter {
	var l Letter
	l.Read(r)
	return l
}

// Read is Parse into a letter that was another before.
func (l *Letter) Read(r *kgo.Record) {
	*l = Letter{
		Format: Plain, Place: Place{r.Topic, r.Partition, r.Offset}, Key: r.Key,
		Reason: ReasonUnknown, FailedAt: r.Timestamp, Value: r.Value, SourceKey: r.Key,
	}
	for _, h := range r.Headers {
		if h.Key == deadletter.HeaderReason {
			l.Format = Orderhub
			break
		}
		switch {
		case l.Format == Plain && strings.HasPrefix(h.Key, connectPrefix):
			l.Format = Connect
		case l.Format == Plain && (strings.HasPrefix(h.Key, springPrefix) || strings.HasPrefix(h.Key, springRetryPrefix)):
			l.Format = Spring
		}
	}
	switch l.Format {
	case Orderhub:
		l.orderhub(r)
	case Connect:
		l.foreign(r, l.connectHeader)
	case Spring:
		l.foreign(r, l.springHeader)
	case Plain:
		l.foreign(r, func(kgo.RecordHeader) bool { return false })
	}
	if l.Origin == "" {
		l.Origin = l.ID
	}
	for _, h := range l.SourceHeaders {
		switch h.Key {
		case deadletter.HeaderEditedBy:
			l.EditedBy = string(h.Value)
		case deadletter.HeaderEditedFrom:
			l.EditedFrom = string(h.Value)
		}
	}
}

func (l *Letter) orderhub(r *kgo.Record) {
	l.ID, l.SourceKey = string(r.Key), nil
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Key, "dlq-") {
			l.SourceHeaders = append(l.SourceHeaders, h)
			continue
		}
		switch h.Key {
		case deadletter.HeaderReason:
			l.Reason = intern(h.Value)
		case deadletter.HeaderStage:
			l.Stage = intern(h.Value)
		case deadletter.HeaderErrors:
			l.ErrorsJSON = h.Value
		case deadletter.HeaderSourceTopic:
			l.Source.Topic = intern(h.Value)
		case deadletter.HeaderSourcePartition:
			l.Source.Partition = int32(number(h.Value, 32))
		case deadletter.HeaderSourceOffset:
			l.Source.Offset = number(h.Value, 64)
		case deadletter.HeaderSourceTimestamp:
			l.SourceTimestamp = instant(h.Value)
		case deadletter.HeaderSourceKey:
			l.SourceKey = h.Value
			if l.SourceKey == nil {
				l.SourceKey = []byte{}
			}
		case deadletter.HeaderConsumerGroup:
			l.Group = intern(h.Value)
		case deadletter.HeaderFailedAt:
			if at := instant(h.Value); !at.IsZero() {
				l.FailedAt = at
			}
		case deadletter.HeaderRedriveCount:
			l.Redrives = int(max(number(h.Value, 32), 0))
		case deadletter.HeaderOrigin:
			if l.Origin = l.ID; string(h.Value) != l.ID {
				l.Origin = string(h.Value)
			}
		case deadletter.HeaderTruncated:
			var t deadletter.Truncation
			if json.Unmarshal(h.Value, &t) == nil {
				l.Truncated = &t
			}
		case deadletter.HeaderValue:
			if string(h.Value) == "null" && len(r.Value) == 0 {
				l.Value = nil
			}
		default:
			l.SourceHeaders = append(l.SourceHeaders, h)
		}
	}
}

// foreign reads a letter that is known by its own place. take says whether a
// header is the writer's and not the source record's.
func (l *Letter) foreign(r *kgo.Record, take func(kgo.RecordHeader) bool) {
	l.ID = deadletter.ID(deadletter.Source{
		Topic: r.Topic, Partition: int(r.Partition), Offset: r.Offset, Timestamp: r.Timestamp, Value: r.Value,
	})
	l.Source.Partition, l.Source.Offset = -1, -1
	for _, h := range r.Headers {
		switch {
		case h.Key == deadletter.HeaderRedriveCount:
			l.Redrives = int(max(number(h.Value, 32), 0))
		case h.Key == deadletter.HeaderOrigin:
			l.Origin = string(h.Value)
		case !take(h):
			l.SourceHeaders = append(l.SourceHeaders, h)
		}
	}
	if l.Source.Partition < 0 || l.Source.Offset < 0 {
		l.Source = Place{}
	}
	if l.Exception.Class != "" {
		l.Reason = l.Exception.Class[strings.LastIndexByte(l.Exception.Class, '.')+1:]
	}
}

// Errors are the failures that the letter names. Those of an exception are one
// failure without the exception's message, which may quote the value.
func (l *Letter) Errors() []model.FieldError {
	if l.Format != Orderhub {
		if l.Exception.Class == "" {
			return nil
		}
		return []model.FieldError{{Rule: l.Reason, Message: l.Exception.Class}}
	}
	var failures []model.FieldError
	if json.Unmarshal(l.ErrorsJSON, &failures) != nil {
		return nil
	}
	return failures
}

// Head is the letter without value and headers of the source, and shares no bytes
// with the record.
func (l *Letter) Head() Letter {
	size := l.Size()
	h := *l
	h.head, h.Value, h.SourceHeaders, h.Key = &size, nil, nil, nil
	h.SourceKey, h.ErrorsJSON = bytes.Clone(l.SourceKey), bytes.Clone(l.ErrorsJSON)
	h.Exception.Stacktrace = ""
	return h
}

// Size is the size of the source's value in bytes, also where it was cut.
func (l *Letter) Size() int64 {
	if l.head != nil {
		return *l.head
	}
	if l.Truncated != nil {
		return l.Truncated.Size
	}
	return int64(len(l.Value))
}

func number(text []byte, bits int) int64 {
	if len(text) < 10 { // so short that it fits
		n := int64(0)
		for _, c := range text {
			if c < '0' || c > '9' {
				return -1
			}
			n = n*10 + int64(c-'0')
		}
		if len(text) > 0 {
			return n
		}
	}
	n, err := strconv.ParseInt(string(text), 10, bits)
	if err != nil {
		return -1
	}
	return n
}

func instant(text []byte) time.Time {
	var at time.Time
	if at.UnmarshalText(text) != nil {
		return time.Time{}
	}
	return at
}
