// Package letters produces dead letters to their topic.
package letters

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// batchBytes is how many bytes of letters a request has at most, unless it is a single
// letter. The topic's max.message.bytes applies to the whole request, so this is below
// Kafka's default of 1 MiB.
const batchBytes = 512 << 10

// MaxHeaderBytes is more than a letter's headers have beyond those of its record.
const MaxHeaderBytes = 64 << 10

// requestTimeout bounds a request, up to the last replica's acknowledgement.
const requestTimeout = 15 * time.Second

// Producer produces letters with acknowledgement by all in-sync replicas. Safe for
// concurrent use.
//
// It uses kafka-go's Client, not its Writer. A Writer has one limit, BatchBytes, for a
// request and for a single message: it either refuses the whole call for one letter
// above it, or joins letters into requests that the topic refuses. It also continues
// to send after the context has ended, when the partition may belong to another worker.
type Producer struct {
	client     *kafka.Client
	topic      string
	partitions atomic.Pointer[[]int] // nil: not known
}

// NewProducer returns a producer for a topic.
func NewProducer(client *kafka.Client, topic string) *Producer {
	return &Producer{client: client, topic: topic}
}

// Topic is where letters go.
func (p *Producer) Topic() string { return p.topic }

// Send sends letters, partition by partition, and returns nil once all are acknowledged.
// After an error, which is never a letter's, it returns those that are left: one that the
// topic refuses for its size is cut until it is accepted.
func (p *Producer) Send(ctx context.Context, letters []*deadletter.Letter) (left []*deadletter.Letter, err error) {
	partitions, err := p.knownPartitions(ctx)
	if err != nil {
		return letters, fmt.Errorf("dead-letter topic %s: %w", p.topic, kafkago.Refused(err, "Write", p.topic, ""))
	}
	byPartition := map[int][]*deadletter.Letter{}
	for _, letter := range letters {
		partition := kafkago.Balancer.Balance(kafka.Message{Key: []byte(letter.ID)}, partitions...)
		byPartition[partition] = append(byPartition[partition], letter)
	}
	for partition, remaining := range byPartition {
		for len(remaining) > 0 {
			sent, failed := p.produce(ctx, partition, remaining[:fitting(remaining)])
			remaining = remaining[sent:]
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("dead-letter topic %s, partition %d: %w", p.topic, partition, kafkago.Refused(failed, "Write", p.topic, "")))
				break // the partition's later letters wait for the next attempt
			}
		}
		left = append(left, remaining...)
	}
	if err != nil {
		p.partitions.Store(nil) // the topic may have been recreated
	}
	return left, err
}

// RemoveErased removes the letters of erased orders that the topic has now, of which it reads
// all, by a reader for each partition. It returns how many there were.
func (p *Producer) RemoveErased(ctx context.Context, known *erased.Known, read func(partition int) *fetch.Reader) (removed int, err error) {
	partitions, err := p.knownPartitions(ctx)
	for _, partition := range partitions {
		ids := map[string]bool{}
		if err == nil {
			err = ofErased(ctx, known, read(partition), ids)
		}
		var tombstones []*deadletter.Letter
		for id := range ids {
			tombstones = append(tombstones, &deadletter.Letter{ID: id})
		}
		if err == nil {
			_, err = p.Send(ctx, tombstones)
		}
		if err == nil {
			removed += len(tombstones)
		}
	}
	return removed, err
}

// ofErased collects the ids of the letters of erased orders that a partition has.
func ofErased(ctx context.Context, known *erased.Known, reader *fetch.Reader, ids map[string]bool) error {
	defer func() { _ = reader.Close() }() // it was only read from
	first, end, err := reader.Offsets(ctx)
	if err != nil {
		return err
	}
	_, err = reader.Each(ctx, first, end, func(record *fetch.Record) {
		isLetter, source := false, []byte(nil)
		for _, h := range record.Headers {
			switch h.Key {
			case deadletter.HeaderReason:
				isLetter = true
			case deadletter.HeaderSourceKey:
				source = h.Value
			}
		}
		switch {
		case isLetter && known.HasAny(deadletter.OrderUIDs(source, record.Value)):
			ids[string(record.Key)] = true
		case len(record.Value) == 0:
			delete(ids, string(record.Key)) // it is removed already
		}
	})
	return err
}

// fitting returns how many of the letters go into one request: at least one.
func fitting(letters []*deadletter.Letter) int {
	size := 0
	for n, letter := range letters {
		size += letter.Size()
		if n > 0 && size > batchBytes {
			return n
		}
	}
	return len(letters)
}

// produce sends letters in one request, and returns how many are acknowledged. If they are too
// large together, it sends each alone; a letter that is too large alone is cut.
func (p *Producer) produce(ctx context.Context, partition int, letters []*deadletter.Letter) (sent int, err error) {
	err = p.request(ctx, partition, letters)
	switch {
	case err == nil:
		return len(letters), nil
	case !messageTooLarge(err):
		return 0, err
	case len(letters) > 1:
		for n := range letters {
			if _, err := p.produce(ctx, partition, letters[n:n+1]); err != nil {
				return n, err
			}
		}
		return len(letters), nil
	case !letters[0].Shorten():
		return 0, fmt.Errorf("refuses even a letter without its value; increase max.message.bytes: %w", err)
	}
	return p.produce(ctx, partition, letters)
}

func messageTooLarge(err error) bool {
	var tooLarge kafka.MessageTooLargeError
	return errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.InvalidMessageSize) || errors.As(err, &tooLarge) ||
		errors.Is(err, kafka.RecordListTooLarge)
}

func (p *Producer) request(ctx context.Context, partition int, letters []*deadletter.Letter) error {
	records := make([]kafka.Record, len(letters))
	now := time.Now()
	for n, letter := range letters {
		headers := make([]kafka.Header, len(letter.Headers))
		for h, header := range letter.Headers {
			headers[h] = kafka.Header{Key: header.Key, Value: header.Value}
		}
		records[n] = kafka.Record{Time: now, Key: kafka.NewBytes([]byte(letter.ID)), Value: kafka.NewBytes(letter.Value), Headers: headers}
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := p.client.Produce(ctx, &kafka.ProduceRequest{
		Topic:        p.topic,
		Partition:    partition,
		RequiredAcks: kafka.RequireAll,
		Records:      kafka.NewRecordReader(records...),
	})
	if err != nil {
		return err
	}
	if answer.Error != nil {
		return answer.Error
	}
	for _, err := range answer.RecordErrors {
		return err // the broker refuses the request as a whole
	}
	return nil
}

// knownPartitions returns the numbers of the topic's partitions.
func (p *Producer) knownPartitions(ctx context.Context) ([]int, error) {
	if known := p.partitions.Load(); known != nil {
		return *known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	n, err := kafkago.PartitionCount(ctx, p.client, p.topic)
	switch {
	case errors.Is(err, kafka.UnknownTopicOrPartition): // kafka-go asks for all topics that it may see
		return nil, kafkaconn.Missing(fmt.Errorf("%w, or it is hidden", err), "Write on topic "+p.topic)
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errors.New("has no partition")
	}
	partitions := make([]int, n)
	for i := range partitions {
		partitions[i] = i
	}
	p.partitions.Store(&partitions)
	return partitions, nil
}
