// Package letters writes dead letters into their topic.
package letters

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
)

// batchBytes is how many bytes of letters go in one request, at most; a larger
// letter goes alone. The topic's max.message.bytes holds for the whole request,
// so this stays below Kafka's default of 1 MiB.
const batchBytes = 512 << 10

// requestTimeout bounds one request, from the first byte to the last replica's
// acknowledgement.
const requestTimeout = 15 * time.Second

// cuts are the sizes to which the value of a letter that the topic does not take
// is cut, one after another. Behind the last the source's headers go as well.
var cuts = []int{900_000, 200_000, 10_000, 0}

// Producer writes letters with acknowledgement by all in-sync replicas. Safe for
// concurrent use.
type Producer struct {
	client     *kafka.Client
	topic      string
	partitions atomic.Int64 // 0: to be asked
}

// NewProducer returns a producer for a topic.
func NewProducer(client *kafka.Client, topic string) *Producer {
	return &Producer{client: client, topic: topic}
}

// Pending are letters on their way. Those that are acknowledged are not sent
// again, however often Send is called.
type Pending struct {
	letters []deadletter.Letter
	sent    []bool
	left    int
}

// NewPending wraps letters that are to be sent.
func NewPending(letters []deadletter.Letter) *Pending {
	return &Pending{letters: letters, sent: make([]bool, len(letters)), left: len(letters)}
}

// Send writes the letters that are left, partition by partition, and returns nil
// once all are acknowledged. On an error (never a letter's fault) what was
// acknowledged stays so. A letter that the topic does not take for its size is
// cut until it does.
func (p *Producer) Send(ctx context.Context, pending *Pending) error {
	if pending.left == 0 {
		return nil
	}
	partitions, err := p.partitionCount(ctx)
	if err != nil {
		return fmt.Errorf("dead-letter topic %s: %w", p.topic, err)
	}
	byPartition := map[int][]int{}
	for i, sent := range pending.sent {
		if !sent {
			partition := partitionOf(pending.letters[i].ID, partitions)
			byPartition[partition] = append(byPartition[partition], i)
		}
	}
	var errs []error
	for partition, indices := range byPartition {
		for len(indices) > 0 {
			n := fitting(pending.letters, indices)
			if err := p.produce(ctx, partition, pending, indices[:n]); err != nil {
				errs = append(errs, fmt.Errorf("dead-letter topic %s, partition %d: %w", p.topic, partition, err))
				break // the partition's later letters wait for the next attempt
			}
			indices = indices[n:]
		}
	}
	if len(errs) > 0 {
		p.partitions.Store(0) // the topic may have been made anew
	}
	return errors.Join(errs...)
}

// fitting says how many of the letters go into one request: at least one.
func fitting(letters []deadletter.Letter, indices []int) int {
	size := 0
	for n, i := range indices {
		size += letters[i].Size()
		if n > 0 && size > batchBytes {
			return n
		}
	}
	return len(indices)
}

// produce sends letters in one request. Where they are too large together they
// are sent one by one; where one is too large alone it is cut.
func (p *Producer) produce(ctx context.Context, partition int, pending *Pending, indices []int) error {
	err := p.request(ctx, partition, pending, indices)
	if err == nil {
		for _, i := range indices {
			pending.sent[i] = true
		}
		pending.left -= len(indices)
		return nil
	}
	if !messageTooLarge(err) {
		return err
	}
	if len(indices) > 1 {
		for _, i := range indices {
			if err := p.produce(ctx, partition, pending, []int{i}); err != nil {
				return err
			}
		}
		return nil
	}
	letter := &pending.letters[indices[0]]
	for _, size := range cuts {
		if len(letter.Value) > size {
			letter.Truncate(size)
			return p.produce(ctx, partition, pending, indices)
		}
	}
	before := letter.Size()
	letter.DropSourceHeaders()
	if letter.Size() == before {
		return fmt.Errorf("takes not even a letter without its value (%d bytes): raise max.message.bytes: %w", before, err)
	}
	return p.produce(ctx, partition, pending, indices)
}

// messageTooLarge reports whether the broker refuses a record for its size.
func messageTooLarge(err error) bool {
	var tooLarge kafka.MessageTooLargeError
	return errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.InvalidMessageSize) || errors.As(err, &tooLarge) ||
		errors.Is(err, kafka.RecordListTooLarge)
}

func (p *Producer) request(ctx context.Context, partition int, pending *Pending, indices []int) error {
	records := make([]kafka.Record, len(indices))
	now := time.Now()
	for n, i := range indices {
		letter := &pending.letters[i]
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

func (p *Producer) partitionCount(ctx context.Context) (int, error) {
	if n := p.partitions.Load(); n > 0 {
		return int(n), nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	n, err := kafkago.PartitionCount(ctx, p.client, p.topic)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("has no partition")
	}
	p.partitions.Store(int64(n))
	return n, nil
}

// partitionOf is where Kafka's own producers put a record with this key.
func partitionOf(id string, partitions int) int {
	all := make([]int, partitions)
	for i := range all {
		all[i] = i
	}
	return kafkago.Balancer.Balance(kafka.Message{Key: []byte(id)}, all...)
}
