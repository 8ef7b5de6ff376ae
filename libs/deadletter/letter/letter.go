// Package letter reads dead letters and their resolutions from Kafka's records. It
// knows the headers of our worker and of the systems in foreignFormats.
package letter

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// Format says who wrote a letter.
type Format string

// The formats.
const (
	Orderhub          Format = "orderhub"
	Connect           Format = "connect"             // Kafka Connect: __connect.errors.*
	Spring            Format = "spring"              // Spring Kafka: kafka_dlt-*
	SpringCloudStream Format = "spring-cloud-stream" // x-original-*, x-exception-*
	Streams           Format = "kafka-streams"       // __streams.errors.*
	ShareGroup        Format = "share-group"         // __dlq.errors.*
	SmallRye          Format = "smallrye"            // dead-letter-*
	NATS              Format = "nats"                // Nats-Stream, Nats-Sequence
	Custom            Format = "custom"              // made by hand: original_topic, error, x-death …
	Plain             Format = "plain"               // no headers that we know
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

// ParsePlace reads what Place.String writes.
func ParsePlace(text string) (p Place, ok bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return p, false
	}
	p = Place{Topic: parts[0], Partition: int32(number([]byte(parts[1]), 32)), Offset: number([]byte(parts[2]), 64)}
	return p, p.Partition >= 0 && p.Offset >= 0
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
	// Partition and Offset are -1 where only the topic is known.
	Source          Place
	SourceTimestamp time.Time // zero: unknown
	SourceKey       []byte    // nil: null
	// SourceHeaders are those that the source record had itself.
	SourceHeaders []kgo.RecordHeader

	Group    string // the consumer group or the connector
	Redrives int
	Origin   string // id of the first letter in a row of redrives
	Rules    string // version of the rules file that refused it; "" without one
	// EditedBy and EditedFrom say who changed the value in a redrive before, and
	// in which letter it is as it was. Both are among SourceHeaders too.
	EditedBy, EditedFrom string
	Value                []byte // nil: the source's value is null
	Truncated            *deadletter.Truncation

	// ErrorsJSON is what the header says; see Errors.
	ErrorsJSON []byte
	Exception  Exception // of letters that others wrote

	head *int64 // the size, of a letter without its value
}

// Exception is what another system says of a failure. It may quote the value.
type Exception struct{ Class, Message, Stacktrace string }

// Parse reads a record as a letter. It never fails: it leaves out what it cannot
// read, and a record without known headers is a plain letter.
func Parse(r *kgo.Record) Letter {
	l := Letter{
		Format: Plain, Place: Place{r.Topic, r.Partition, r.Offset}, Key: r.Key,
		Reason: ReasonUnknown, FailedAt: r.Timestamp, Value: r.Value, SourceKey: r.Key,
	}
	if slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == deadletter.HeaderReason }) {
		l.Format = Orderhub
		l.orderhub(r)
	} else {
		l.foreign(r)
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
	return l
}

func (l *Letter) orderhub(r *kgo.Record) {
	l.ID, l.SourceKey = string(r.Key), nil
	for _, h := range r.Headers {
		if deadletter.ForOthers(h.Key) {
			continue
		}
		if !strings.HasPrefix(h.Key, "dlq-") {
			l.SourceHeaders = append(l.SourceHeaders, h)
			continue
		}
		switch h.Key {
		case deadletter.HeaderReason:
			l.Reason = string(h.Value)
		case deadletter.HeaderStage:
			l.Stage = string(h.Value)
		case deadletter.HeaderErrors:
			l.ErrorsJSON = h.Value
		case deadletter.HeaderSourceTopic:
			l.Source.Topic = string(h.Value)
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
			l.Group = string(h.Value)
		case deadletter.HeaderFailedAt:
			if at := instant(h.Value); !at.IsZero() {
				l.FailedAt = at
			}
		case deadletter.HeaderRedriveCount:
			l.Redrives = int(max(number(h.Value, 32), 0))
		case deadletter.HeaderOrigin:
			if l.Origin = l.ID; string(h.Value) != l.ID { // mostly it is the id
				l.Origin = string(h.Value)
			}
		case deadletter.HeaderRules:
			l.Rules = string(h.Value)
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

// TraceID is the trace that the source record is part of, if its producer sampled it; ""
// otherwise.
func (l *Letter) TraceID() string {
	for _, h := range l.SourceHeaders {
		if span, sampled := tracing.Sampled(h.Value); h.Key == tracing.Header && sampled {
			return span.TraceID().String()
		}
	}
	return ""
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

// Sized gives a letter that is known without its value the size of its source's value.
func (l *Letter) Sized(size int64) *Letter {
	l.head = &size
	return l
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

// number is a decimal number of so many bits, or -1.
func number(text []byte, bits int) int64 {
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

// HeaderResolution marks a resolution; its value is the ResolutionKind.
const HeaderResolution = "dlq-resolution"

const keySuffix = "/resolution"

// ResolutionKind says what was done with a letter.
type ResolutionKind string

// The kinds.
const (
	Redriven  ResolutionKind = "redriven"
	Discarded ResolutionKind = "discarded"
	Accepted  ResolutionKind = "accepted" // readers of releases before it see a resolved letter
)

// Resolution is what was done with a letter.
type Resolution struct {
	ID     string         `json:"-"` // the letter's
	Kind   ResolutionKind `json:"-"`
	By     string         `json:"by"`
	When   time.Time      `json:"when"`
	Why    string         `json:"why,omitempty"`
	Became string         `json:"became,omitempty"` // of a redriven letter: topic/partition/offset of the copy
	Edited bool           `json:"edited,omitempty"` // the copy's value is not the letter's
	// Replaced is, of an accepted letter, the number of the version of the order that it
	// replaced.
	Replaced int64 `json:"replaced,omitempty"`
}

// ResolutionKey is the key of a letter's resolution.
func ResolutionKey(id string) string { return id + keySuffix }

// Record writes a resolution.
func (r Resolution) Record(topic string, partition int32) *kgo.Record {
	r.When = r.When.UTC()
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // texts, and a time of this millennium
	}
	return &kgo.Record{
		Topic: topic, Partition: partition, Key: []byte(ResolutionKey(r.ID)), Value: value,
		Headers: []kgo.RecordHeader{{Key: HeaderResolution, Value: []byte(r.Kind)}},
	}
}

// UndoRecord is the tombstone of a letter's resolution.
func UndoRecord(topic string, partition int32, id string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(ResolutionKey(id))}
}

// ResolutionOf says whether a record is a resolution or the tombstone of one (its value is
// nil then), and of which letter.
func ResolutionOf(r *kgo.Record) (id string, is bool) {
	n := len(r.Key) - len(keySuffix)
	if n <= 0 || string(r.Key[n:]) != keySuffix {
		return "", false
	}
	if r.Value != nil && KindOf(r) == "" {
		return "", false
	}
	return string(r.Key[:n]), true
}

// KindOf is the kind of a record that is a resolution.
func KindOf(r *kgo.Record) ResolutionKind {
	for _, h := range r.Headers {
		if h.Key == HeaderResolution {
			return ResolutionKind(h.Value)
		}
	}
	return ""
}

// ParseResolution reads a resolution. With an error the id and the kind are given all the
// same: the letter is resolved, if by an unknown hand.
func ParseResolution(r *kgo.Record) (Resolution, error) {
	var parsed Resolution
	err := json.Unmarshal(r.Value, &parsed)
	parsed.ID, parsed.Kind = strings.TrimSuffix(string(r.Key), keySuffix), KindOf(r)
	if err != nil {
		return parsed, fmt.Errorf("resolution of %s: %w", parsed.ID, err)
	}
	return parsed, nil
}
