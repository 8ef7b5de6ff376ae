// Package publishtest plays Kafka's brokers for tests: what kafka-go's client
// asks when it looks a topic up and produces to it.
package publishtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// Record is a record as the brokers have it.
type Record struct {
	Key, Value []byte
	Compressed bool // its batch was
}

// Brokers have one topic. They are safe for concurrent use.
type Brokers struct {
	Topic      string
	Partitions int
	// OnProduce may refuse a batch, or fail to answer; nil takes all.
	OnProduce func(ctx context.Context, partition int, batch []Record) error

	mu  sync.Mutex
	log map[int][]Record
	// batches counts the batches that were taken.
	batches int
}

// Client returns a client of the brokers.
func (b *Brokers) Client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP("played:9092"), Transport: b}
}

// Log returns the records of a partition by offset.
func (b *Brokers) Log(partition int) []Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Record(nil), b.log[partition]...)
}

// All returns the records of all partitions, one partition after the other.
func (b *Brokers) All() (all []Record) {
	for partition := range b.Partitions {
		all = append(all, b.Log(partition)...)
	}
	return all
}

// Batches returns how many batches were taken.
func (b *Brokers) Batches() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.batches
}

// RoundTrip implements kafka.RoundTripper.
func (b *Brokers) RoundTrip(ctx context.Context, _ net.Addr, request kafka.Request) (kafka.Response, error) {
	switch r := request.(type) {
	case *metadata.Request:
		return b.metadata(r), nil
	case *produce.Request:
		return b.produce(ctx, r)
	default:
		return nil, fmt.Errorf("publishtest: no answer to a %T", request)
	}
}

func (b *Brokers) metadata(r *metadata.Request) *metadata.Response {
	answer := &metadata.Response{}
	for _, name := range r.TopicNames {
		topic := metadata.ResponseTopic{Name: name}
		if name == b.Topic {
			for i := range b.Partitions {
				topic.Partitions = append(topic.Partitions, metadata.ResponsePartition{PartitionIndex: int32(i)})
			}
		} else {
			topic.ErrorCode = int16(kafka.UnknownTopicOrPartition)
		}
		answer.Topics = append(answer.Topics, topic)
	}
	return answer
}

func (b *Brokers) produce(ctx context.Context, r *produce.Request) (*produce.Response, error) {
	if r.Acks != int16(kafka.RequireAll) {
		return nil, fmt.Errorf("publishtest: acks=%d, not all", r.Acks)
	}
	asked := r.Topics[0].Partitions[0]
	partition := int(asked.Partition)
	batch, err := read(asked.RecordSet)
	if err != nil {
		return nil, err
	}
	answer := produce.ResponsePartition{Partition: asked.Partition}
	if b.OnProduce != nil {
		err = b.OnProduce(ctx, partition, batch)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if code, ok := errors.AsType[kafka.Error](err); ok {
		answer.ErrorCode = int16(code)
	} else if err != nil {
		return nil, err
	} else {
		if b.log == nil {
			b.log = map[int][]Record{}
		}
		answer.BaseOffset = int64(len(b.log[partition]))
		b.log[partition] = append(b.log[partition], batch...)
		b.batches++
	}
	return &produce.Response{Topics: []produce.ResponseTopic{{Topic: b.Topic, Partitions: []produce.ResponsePartition{answer}}}}, nil
}

func read(set protocol.RecordSet) (batch []Record, err error) {
	for {
		r, err := set.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return batch, nil
		}
		if err != nil {
			return nil, err
		}
		key, err := protocol.ReadAll(r.Key)
		if err != nil {
			return nil, err
		}
		value, err := protocol.ReadAll(r.Value)
		if err != nil {
			return nil, err
		}
		batch = append(batch, Record{Key: key, Value: value, Compressed: set.Attributes.Compression() != 0})
	}
}
