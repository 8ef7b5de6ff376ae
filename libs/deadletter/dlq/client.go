package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// ErrNoTopic means that a topic does not exist.
var ErrNoTopic = kafkaconn.ErrNoTopic

// Client speaks to the brokers. Safe for concurrent use.
type Client struct {
	client  *kgo.Client
	admin   *kadm.Client
	options []kgo.Opt // for further clients of the same brokers
}

const (
	// retryTimeout is how long a request is tried while brokers are away.
	retryTimeout = 10 * time.Second
	// deliveryTimeout is how long a record is tried.
	deliveryTimeout = 30 * time.Second
	// maxRecordBytes is more than a topic of dead letters takes.
	maxRecordBytes = 32 << 20
)

// NewClient returns a client. The options say where the brokers are and how to log in
// there; nothing is connected until the first use.
func NewClient(options ...kgo.Opt) (*Client, error) {
	options = append([]kgo.Opt{
		kgo.ClientID("orderhub"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(maxRecordBytes), // callers bound what they send at once
		kgo.ProducerLinger(0),
		kgo.RequestRetries(3),
		kgo.RetryTimeout(retryTimeout),
	}, options...)
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("settings of Kafka: %w", err)
	}
	return &Client{client: client, admin: kadm.NewClient(client), options: options}, nil
}

// Close ends the connections.
func (c *Client) Close() { c.client.Close() }

// Span is a range of offsets: From, up to and without To.
type Span struct{ From, To int64 }

// Bounds are the offsets that each partition of a topic holds now.
func (c *Client) Bounds(ctx context.Context, topic string) (map[int32]Span, error) {
	starts, err := c.admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, failed(topic, err)
	}
	ends, err := c.admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, failed(topic, err)
	}
	if len(ends[topic]) == 0 {
		return nil, failed(topic, ErrNoTopic)
	}
	bounds := make(map[int32]Span, len(ends[topic]))
	for partition, end := range ends[topic] {
		bounds[partition] = Span{From: starts[topic][partition].Offset, To: end.Offset}
	}
	return bounds, nil
}

// Partitions is how many partitions a topic has.
func (c *Client) Partitions(ctx context.Context, topic string) (int32, error) {
	details, err := c.details(ctx, topic)
	if err != nil {
		return 0, err
	}
	return int32(len(details.Partitions)), nil
}

func (c *Client) details(ctx context.Context, topic string) (kadm.TopicDetail, error) {
	metadata, err := c.admin.Metadata(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, failed(topic, err)
	}
	details := metadata.Topics[topic]
	if details.Err != nil {
		return details, failed(topic, details.Err)
	}
	if len(details.Partitions) == 0 {
		return details, failed(topic, ErrNoTopic)
	}
	return details, nil
}

// Produced is what became of a record.
type Produced struct {
	Record *kgo.Record // with its offset, once acknowledged
	Err    error
}

// Produce writes records, those of a partition in their order, and returns when
// each is acknowledged by all replicas in sync or has failed. The records name
// topic and partition.
func (c *Client) Produce(ctx context.Context, records ...*kgo.Record) []Produced {
	return produce(ctx, c.client, records)
}

func produce(ctx context.Context, client *kgo.Client, records []*kgo.Record) []Produced {
	// kgo.RecordDeliveryTimeout counts from a record's timestamp, and letters that are
	// imported have those of long ago.
	bounded, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	results := client.ProduceSync(bounded, records...)
	byRecord := make(map[*kgo.Record]error, len(results))
	for _, r := range results {
		byRecord[r.Record] = r.Err
	}
	produced := make([]Produced, len(records))
	for i, record := range records {
		err := byRecord[record]
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = kgo.ErrRecordTimeout
		}
		if err != nil {
			err = failed(record.Topic, err)
		}
		produced[i] = Produced{Record: record, Err: err}
	}
	return produced
}

// failed names the topic, and turns the broker's word for a missing one into
// ErrNoTopic.
func failed(topic string, err error) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
		err = ErrNoTopic
	}
	return fmt.Errorf("topic %s: %w", topic, err)
}
