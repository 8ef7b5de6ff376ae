// Package kafkasink writes the audit log to a Kafka topic, for ORDERHUB_AUDIT=kafka.
//
// It is a package of its own, so that only programs which offer this contain a Kafka
// client. These are orderctl, with its console, and the API. orderctl has franz-go
// already. The API reads no topic and had no client, so it gets the same one for this
// alone: franz-go's producer is idempotent, so a retry does not repeat a record, which
// the verification of the log would report. No program gets a second client.
package kafkasink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
)

// openTimeout bounds how long the start waits for the brokers.
const openTimeout = 15 * time.Second

// New returns what audit.Options.Kafka wants: a sink that produces to a topic of the
// brokers in cfg. A missing topic is created, with one partition and no retention.
func New(cfg config.KafkaConn, log *zap.Logger) func(topic string) (audit.Sink, error) {
	return func(topic string) (audit.Sink, error) {
		options, err := franz.Options(cfg)
		if err != nil {
			return nil, err
		}
		client, err := kgo.NewClient(append(options,
			kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.ProducerLinger(0),
			// audit bounds each write. Of one that ends early it takes nothing for stored.
			kgo.AllowIdempotentProduceCancellation(),
		)...)
		if err != nil {
			return nil, fmt.Errorf("ORDERHUB_AUDIT=kafka: %w", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
		defer cancel()
		states, err := franz.EnsureTopics(ctx, client, []kafkaconn.TopicSpec{{
			Name: topic, Partitions: 1, Replication: -1,
			Config: map[string]string{"cleanup.policy": "delete", "retention.ms": "-1"},
			Check:  check,
		}})
		if err != nil {
			client.Close()
			return nil, fmt.Errorf("ORDERHUB_AUDIT=kafka: %w", err)
		}
		for _, problem := range states[0].Problems {
			log.Warn("the topic of the audit log may lose records", zap.String("topic", topic), zap.String("problem", problem))
		}
		return &sink{client, topic}, nil
	}
}

func check(settings map[string]string) (problems []string) {
	policy := settings["cleanup.policy"]
	if strings.Contains(policy, "compact") {
		problems = append(problems, "cleanup.policy has compact: all records of a process have one key, and the broker keeps the last one; set it to delete")
	}
	for _, name := range []string{"retention.ms", "retention.bytes"} {
		if value := settings[name]; strings.Contains(policy, "delete") && value != "-1" && value != "" {
			problems = append(problems, fmt.Sprintf("%s is %s: older records are deleted; set it to -1 to keep all", name, value))
		}
	}
	return problems
}

type sink struct {
	client *kgo.Client
	topic  string
}

// Append implements audit.Sink. The key is the chain, so that a chain is in order in one
// partition.
func (s *sink) Append(ctx context.Context, chain string, lines []byte) error {
	var records []*kgo.Record
	for line := range bytes.Lines(lines) {
		records = append(records, &kgo.Record{Topic: s.topic, Key: []byte(chain), Value: bytes.TrimSuffix(line, []byte("\n"))})
	}
	if err := s.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return errors.Join(err, audit.ErrUncertain)
	}
	return nil
}

func (s *sink) Close() error {
	s.client.Close()
	return nil
}
