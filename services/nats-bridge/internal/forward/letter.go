package forward

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

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
