package forward

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// Message is a message of a stream, on its way into Kafka.
type Message struct {
	Stream   string // the stream's name, or the channel's in NATS Streaming
	Subject  string
	Sequence uint64 // in the stream, from 1
	Time     time.Time
	Header   nats.Header
	Data     []byte
	// Delivery takes the acknowledgement. It is nil for a copy that was read from
	// the stream: its delivery comes later, or never.
	Delivery Delivery
}

// Delivery is one delivery of a message.
type Delivery interface {
	Ack() error
	InProgress() error // postpones a redelivery
	Nak() error        // asks for a redelivery
}

// Size is about how many bytes the message takes.
func (m *Message) Size() int {
	size := len(m.Data) + len(m.Subject) + 256
	for name, values := range m.Header {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	return size
}

// The headers that a record has besides the message's own, whose names get the
// prefix: X-Source becomes nats-x-source, Nats-Msg-Id becomes nats-msg-id.
const (
	headerPrefix   = "nats-"
	headerSubject  = "nats-subject"
	headerStream   = "nats-stream"
	headerSequence = "nats-sequence" // decimal
)

// traceHeaders keep their names, so that a trace continues behind Kafka.
var traceHeaders = []string{"traceparent", "tracestate", "baggage"}

func newRecord(topic string, m *Message) *kgo.Record {
	headers := make([]kgo.RecordHeader, 0, len(m.Header)+4)
	for name, values := range m.Header {
		for _, value := range values {
			headers = append(headers, kgo.RecordHeader{Key: headerName(name), Value: []byte(value)})
		}
	}
	headers = append(headers,
		kgo.RecordHeader{Key: headerSubject, Value: []byte(m.Subject)},
		kgo.RecordHeader{Key: headerStream, Value: []byte(m.Stream)},
		kgo.RecordHeader{Key: headerSequence, Value: strconv.AppendUint(nil, m.Sequence, 10)},
		kgo.RecordHeader{Key: deadletter.HeaderNATSTimestamp, Value: m.Time.UTC().AppendFormat(nil, time.RFC3339Nano)})
	return &kgo.Record{Topic: topic, Key: key(m), Value: m.Data, Headers: headers}
}

// trace begins the span of the way into Kafka, if the message's producer sampled it. The
// record continues it.
func (it *item) trace() {
	if !tracing.On() {
		return
	}
	for i, h := range it.record.Headers {
		if h.Key != tracing.Header {
			continue
		}
		if producer, sampled := tracing.Parse(h.Value); sampled {
			name, kind, of := tracing.Send.On(it.record.Topic, attribute.String(headerStream, it.message.Stream), attribute.Int64(headerSequence, int64(it.message.Sequence)))
			var ctx context.Context
			ctx, it.span = tracing.Begin(tracing.Under(context.Background(), producer), name, kind, of)
			it.record.Headers[i].Value = tracing.Traceparent(ctx)
			return
		}
	}
}

func headerName(name string) string {
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, headerPrefix) || slices.Contains(traceHeaders, lower) {
		return lower
	}
	return headerPrefix + lower
}

// key is the order's uid. A message in which it cannot be read has its id as key,
// or none.
func key(m *Message) []byte {
	if uid := orderUID(m.Data); uid != "" {
		return []byte(uid)
	}
	if id := m.Header.Get(nats.MsgIdHdr); id != "" {
		return []byte(id)
	}
	return nil
}

// orderUID reads the field order_uid of a JSON object, and nothing behind it. What
// the object is otherwise is for the worker to judge. A byte order mark is ignored.
func orderUID(data []byte) string {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(bytes.TrimPrefix(data, []byte("\ufeff"))), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return ""
	}
	for {
		name, err := decoder.ReadToken()
		if err != nil || name.Kind() != '"' {
			return ""
		}
		if name.String() != "order_uid" {
			if decoder.SkipValue() != nil {
				return ""
			}
			continue
		}
		if value, err := decoder.ReadToken(); err == nil && value.Kind() == '"' {
			return value.String()
		}
		return ""
	}
}

// writeLetter writes the dead letter of a message that Kafka refused for its size.
func (f *Forwarder) writeLetter(ctx context.Context, it *item, refusal error) error {
	m := &it.message
	headers := make([]deadletter.Header, len(it.record.Headers))
	for i, h := range it.record.Headers {
		headers[i] = deadletter.Header(h)
	}
	letter := deadletter.New(deadletter.Source{
		Topic: deadletter.NATSTopic(m.Stream), Offset: int64(m.Sequence), Timestamp: m.Time,
		Key: it.record.Key, Value: m.Data, Headers: headers,
	}, deadletter.Cause{
		Reason: string(model.ReasonTooLarge), Stage: deadletter.StageDecode,
		Errors: []model.FieldError{{Rule: "size", Message: fmt.Sprintf(
			"the message has %d bytes, more than topic %s takes (max.message.bytes)", len(m.Data), f.cfg.Topic)}},
	}, f.cfg.Durable, time.Now())
	err := f.produceLetter(ctx, letter)
	for isTooLarge(err) && letter.Shorten() {
		err = f.produceLetter(ctx, letter)
	}
	if err != nil {
		return fmt.Errorf("dead-letter topic %s: %w", f.cfg.DLQTopic, err)
	}
	f.metrics.letters.WithLabelValues(letter.Reason).Inc()
	f.log.Warn("dead letter: the message is too large for the topic", zap.String("letter", letter.ID),
		zap.Int("bytes", len(m.Data)), zap.Error(refusal))
	return nil
}

func (f *Forwarder) produceLetter(ctx context.Context, letter deadletter.Letter) error {
	record := &kgo.Record{Topic: f.cfg.DLQTopic, Key: []byte(letter.ID), Value: letter.Value}
	for _, h := range letter.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader(h))
	}
	return f.alone.ProduceSync(ctx, record).FirstErr()
}
