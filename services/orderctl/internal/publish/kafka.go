package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// maxRecordBytes is more than any topic takes.
const maxRecordBytes = 32 << 20

// kafka is a topic. A record is stored when all replicas in sync have it.
type kafka struct {
	client *kgo.Client
	topic  string
	conns  *connections
}

// Kafka looks a topic up. The error is kafkaconn.ErrNoTopic, or says why the
// brokers cannot be asked. It creates no topic: its settings are the worker's to
// choose. A record is tried for giveUpAfter while brokers are away. Connection
// options come from the caller.
//
// The partitioner is franz-go's default, which puts a key into the partition that
// Java's clients and the worker's producer choose.
func Kafka(ctx context.Context, connection []kgo.Opt, topic string, giveUpAfter time.Duration) (Broker, error) {
	conns := &connections{}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.ProducerBatchMaxBytes(maxRecordBytes), // a Publisher bounds what it sends at once
		kgo.WithCompressor(largeOnly{}),
		kgo.ProducerLinger(time.Minute), // until Send has all: one batch a partition, in order
		kgo.RecordDeliveryTimeout(giveUpAfter),
		kgo.WithHooks(conns),
	}, connection...)...)
	if err != nil {
		return nil, fmt.Errorf("settings of Kafka: %w", err)
	}
	if _, err := franz.PartitionCount(ctx, client, topic); err != nil {
		client.Close()
		return nil, fmt.Errorf("topic %s: %w", topic, err)
	}
	return &kafka{client: client, topic: topic, conns: conns}, nil
}

func (k *kafka) Close() { k.client.Close() }

func (k *kafka) Trouble() error {
	if latest := k.conns.latest.Load(); latest != nil {
		return *latest
	}
	return nil
}

func (k *kafka) Send(ctx context.Context, batch []Record) []Result {
	results := make([]Result, len(batch))
	for i, r := range batch {
		record := &kgo.Record{Topic: k.topic, Key: r.Key, Value: r.Value}
		if r.Traceparent != nil {
			record.Headers = []kgo.RecordHeader{{Key: tracing.Header, Value: r.Traceparent}}
		}
		k.client.Produce(ctx, record, func(produced *kgo.Record, err error) {
			if err == nil {
				results[i].Place.TopicPlace = &TopicPlace{produced.Partition, produced.Offset}
				return
			}
			if trouble := k.Trouble(); errors.Is(err, kgo.ErrRecordTimeout) && trouble != nil {
				err = fmt.Errorf("%w: %w", err, trouble)
			}
			results[i].Err, results[i].Refused = err, isRecordsFault(err)
		})
	}
	// It returns when all is settled, since a record fails when ctx ends. ProduceSync
	// would wait out the linger while it does not know the topic's partitions yet.
	_ = k.client.Flush(context.WithoutCancel(ctx))
	return results
}

// isRecordsFault is true where the broker would take a batch with other records.
func isRecordsFault(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) || errors.Is(err, kerr.InvalidRecord)
}

// largeOnly compresses batches that topics would otherwise refuse for their size.
type largeOnly struct{}

var zstd, _ = kgo.DefaultCompressor(kgo.ZstdCompression()) // it is a codec that there is

func (largeOnly) Compress(dst *bytes.Buffer, src []byte, flags ...kgo.CompressFlag) ([]byte, kgo.CompressionCodecType) {
	if len(src) <= maxBatchBytes {
		return src, kgo.CodecNone
	}
	return zstd.Compress(dst, src, flags...)
}

// connections remembers why the latest connection failed, nil if it did not. Safe for
// concurrent use.
type connections struct{ latest atomic.Pointer[error] }

func (c *connections) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	c.latest.Store(&err)
}
