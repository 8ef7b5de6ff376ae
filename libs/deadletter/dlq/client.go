package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/retry"
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
	if err := cmp.Or(err, starts.Error()); err != nil {
		return nil, failed(topic, err)
	}
	ends, err := c.admin.ListCommittedOffsets(ctx, topic)
	if err := cmp.Or(err, ends.Error()); err != nil {
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

// produceAll is Produce for records that are written for one purpose. The error has all errors.
func (c *Client) produceAll(ctx context.Context, records []*kgo.Record) error {
	var failures []error
	for _, p := range c.Produce(ctx, records...) {
		failures = append(failures, p.Err)
	}
	return errors.Join(failures...)
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

const (
	// inParallel is how many partitions are read at once. Their answers are
	// most of the memory that reading takes.
	inParallel = 8
	// answerBytes is how much of a partition one answer brings; a larger batch
	// comes alone.
	answerBytes = 4 << 20
	// perRecord is a guess at a record's size, so that a few records are not
	// fetched with megabytes behind them.
	perRecord = 16 << 10
	// attempts is how often a fetch is tried, with a growing pause.
	attempts   = 6
	firstPause = 100 * time.Millisecond
)

// Gap is a range of offsets that were gone when they were to be read.
type Gap struct {
	Topic     string
	Partition int32
	Span
}

// Read calls handle for the records in the spans of each partition, in the order
// of their offsets. It reads partitions in parallel, so handle must be safe for
// concurrent use. An error of handle ends the reading.
//
// Read fetches by itself, and leaves the decoding to franz-go, since it must know
// which offset a fetch reached: a consumer that only sees records cannot tell
// whether it is at the end of a partition whose last records were compacted away.
//
// The gaps are what the broker removed before it was read.
func (c *Client) Read(ctx context.Context, topic string, spans map[int32][]Span, handle func(*kgo.Record) error) ([]Gap, error) {
	r := &reading{client: c, topic: topic, handle: handle, decompress: kgo.DefaultDecompressor()}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inParallel)
	for partition, wanted := range spans {
		group.Go(func() error {
			for _, span := range wanted {
				if err := r.span(ctx, partition, span); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return r.gaps, err
}

type reading struct {
	client     *Client
	topic      string
	handle     func(*kgo.Record) error
	decompress kgo.Decompressor

	mu      sync.Mutex
	leaders map[int32]int32
	topicID [16]byte
	gaps    []Gap
}

func (r *reading) span(ctx context.Context, partition int32, span Span) error {
	for span.From < span.To {
		records, next, err := r.fetch(ctx, partition, span)
		if errors.Is(err, kerr.OffsetOutOfRange) {
			if span.From, err = r.outOfRange(ctx, partition, span); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("topic %s, partition %d, offset %d: %w", r.topic, partition, span.From, err)
		}
		for _, record := range records.Records {
			if record.Offset >= span.To {
				return nil
			}
			err := ctx.Err()
			if err == nil {
				err = r.handle(record)
			}
			if err != nil {
				return err
			}
		}
		if records.Err != nil {
			return fmt.Errorf("topic %s, partition %d, offset %d: unreadable batch: %w", r.topic, partition, next, records.Err)
		}
		span.From = next
	}
	return nil
}

// outOfRange resumes at the partition's start if that is further on by now.
func (r *reading) outOfRange(ctx context.Context, partition int32, span Span) (int64, error) {
	bounds, err := r.client.Bounds(ctx, r.topic)
	if err != nil {
		return 0, err
	}
	start := bounds[partition].From
	if start <= span.From {
		return 0, fmt.Errorf("topic %s, partition %d: ends at offset %d now, before %d: it was recreated or lost its end while it was read; run the command again", r.topic, partition, bounds[partition].To, span.From)
	}
	gap := Gap{Topic: r.topic, Partition: partition, Span: Span{From: span.From, To: min(start, span.To)}}
	r.mu.Lock()
	r.gaps = append(r.gaps, gap)
	r.mu.Unlock()
	return gap.To, nil
}

// fetch reads from the span's first offset, as far as one answer brings, and returns the offset
// to read next.
func (r *reading) fetch(ctx context.Context, partition int32, span Span) (records kgo.FetchPartition, next int64, err error) {
	size := int32(min(span.To-span.From, answerBytes/perRecord) * perRecord)
	pause := firstPause
	for attempt := 1; ; attempt++ {
		var answer *kmsg.FetchResponseTopicPartition
		if answer, err = r.fetchOnce(ctx, partition, span.From, size); err == nil {
			records, next = kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
				Offset: span.From, IsolationLevel: kgo.ReadCommitted(), Topic: r.topic, Partition: partition,
			}, answer, r.decompress, nil)
			if next == span.From && records.Err == nil { // it may need a moment, as after a change of the leader
				err = fmt.Errorf("the broker returns nothing at offset %d, though the partition ends at %d or later", span.From, span.To)
			}
		}
		_, answered := errors.AsType[*kerr.Error](err)
		final := answered && !kerr.IsRetriable(err) || errors.Is(err, ErrNoTopic)
		if err == nil || final || attempt == attempts || ctx.Err() != nil {
			return records, next, err
		}
		r.mu.Lock()
		r.leaders = nil
		r.mu.Unlock()
		if err := retry.Sleep(ctx, pause); err != nil {
			return records, 0, err
		}
		pause *= 2
	}
}

func (r *reading) fetchOnce(ctx context.Context, partition int32, offset int64, size int32) (*kmsg.FetchResponseTopicPartition, error) {
	leader, id, err := r.leader(ctx, partition)
	if err != nil {
		return nil, err
	}
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = partition, offset, size
	asked := kmsg.NewFetchRequestTopic()
	asked.Topic, asked.TopicID, asked.Partitions = r.topic, id, []kmsg.FetchRequestTopicPartition{part}
	request := kmsg.NewPtrFetchRequest()
	request.ReplicaID, request.MaxBytes, request.MinBytes, request.MaxWaitMillis = -1, size, 1, 0
	request.IsolationLevel, request.SessionEpoch = 1, -1 // committed records, no session
	request.Topics = []kmsg.FetchRequestTopic{asked}
	answer, err := request.RequestWith(ctx, r.client.client.Broker(int(leader)))
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		return nil, err
	}
	for _, t := range answer.Topics {
		for i := range t.Partitions {
			if t.Partitions[i].Partition == partition {
				return &t.Partitions[i], kerr.ErrorForCode(t.Partitions[i].ErrorCode)
			}
		}
	}
	return nil, errors.New("the broker leaves the partition out of its answer")
}

func (r *reading) leader(ctx context.Context, partition int32) (int32, [16]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaders == nil {
		details, err := r.client.details(ctx, r.topic)
		if err != nil {
			return 0, r.topicID, err
		}
		r.leaders, r.topicID = map[int32]int32{}, details.ID
		for number, p := range details.Partitions {
			r.leaders[number] = p.Leader
		}
	}
	leader, ok := r.leaders[partition]
	if !ok || leader < 0 {
		r.leaders = nil
		return 0, r.topicID, kerr.LeaderNotAvailable
	}
	return leader, r.topicID, nil
}
