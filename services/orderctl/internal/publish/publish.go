// Package publish sends records to a topic in batches and reports each record
// when all replicas in sync have it.
package publish

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// Record is what is to be sent.
type Record struct {
	Key   []byte // records with the same key keep their order; nil: any partition
	Value []byte // nil is a tombstone
	// Info is the caller's, and comes back with the acknowledgement.
	Info any
}

// Ack is a record that the brokers have.
type Ack struct {
	Record
	Partition int
	Offset    int64
}

// Options of a Publisher.
type Options struct {
	Topic string
	// Rate is in records a second; 0 means as fast as possible.
	Rate float64
	// GiveUpAfter is how long a batch is tried while brokers are away.
	GiveUpAfter time.Duration
	// Acked is told of records when they are acknowledged, those of a
	// partition in their order; its error ends the work. Refused is told of
	// records that the broker does not take, Retrying of a batch that is tried
	// again. The calls come one at a time.
	Acked    func([]Ack) error
	Refused  func(Record, error)
	Retrying func(error)
}

// ErrNoTopic says that the topic does not exist.
var ErrNoTopic = errors.New("the topic does not exist")

// Publisher sends to one topic.
type Publisher struct {
	client     *kafka.Client
	opts       Options
	partitions []int
	report     sync.Mutex // held while the caller is told something
}

// New looks the topic up. The error is ErrNoTopic, or says why the brokers
// cannot be asked. It creates no topic: its settings are the worker's to choose.
func New(ctx context.Context, client *kafka.Client, opts Options) (*Publisher, error) {
	count, err := kafkago.PartitionCount(ctx, client, opts.Topic)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return nil, ErrNoTopic
	}
	if err != nil {
		return nil, err
	}
	p := &Publisher{client: client, opts: opts}
	for i := range count {
		p.partitions = append(p.partitions, i)
	}
	return p, nil
}

// Run sends what next gives, until next returns io.EOF and all is acknowledged
// or refused. When ctx ends it sends no more, waits a few seconds for what is
// under way, and returns the cause.
func (p *Publisher) Run(ctx context.Context, next func() (Record, error)) error {
	group, groupCtx := errgroup.WithContext(ctx)
	lanes := make([]*lane, len(p.partitions))
	for i, partition := range p.partitions {
		lanes[i] = &lane{Publisher: p, partition: partition, queue: make(chan []Record, 1)}
		group.Go(func() error { return lanes[i].run(groupCtx) })
	}
	err := p.route(groupCtx, lanes, next)
	for _, l := range lanes {
		close(l.queue)
	}
	// A lane that failed ended groupCtx, and routing with it: its error is the
	// one to tell.
	if laneErr := group.Wait(); laneErr != nil {
		return laneErr
	}
	return err
}

// route hands records to the lanes of their partitions.
func (p *Publisher) route(ctx context.Context, lanes []*lane, next func() (Record, error)) error {
	flush := func() error {
		for _, l := range lanes {
			if err := l.flush(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	// Java's clients and librdkafka choose the same partition for a key.
	var balancer kafka.Murmur2Balancer
	pace := pacer{rate: p.opts.Rate, start: time.Now()}
	for {
		if wait := pace.wait(time.Now()); wait > 0 {
			if err := flush(); err != nil { // a record that is due doesn't wait for others
				return err
			}
			if err := retry.Sleep(ctx, wait); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		record, err := next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		partition := balancer.Balance(kafka.Message{Key: record.Key}, p.partitions...)
		if err := lanes[partition].add(ctx, record); err != nil {
			return err
		}
		pace.sent++
	}
}

// pacer spreads records over time. It sleeps in steps that a timer can keep,
// and lets what is due by then pass at once.
type pacer struct {
	rate  float64
	start time.Time
	sent  int
}

const shortestWait = 5 * time.Millisecond

func (p *pacer) wait(now time.Time) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	due := p.start.Add(time.Duration(float64(p.sent) / p.rate * float64(time.Second)))
	if !due.After(now) {
		return 0
	}
	return max(due.Sub(now), shortestWait)
}
