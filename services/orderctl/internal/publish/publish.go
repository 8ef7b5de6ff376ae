// Package publish sends records to a topic and reports each record when all
// replicas in sync have it.
package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
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
	Partition int32
	Offset    int64
}

// Options of a Publisher.
type Options struct {
	Topic string
	// Rate is in records a second; 0 means as fast as possible.
	Rate float64
	// GiveUpAfter is how long a record is tried while brokers are away.
	GiveUpAfter time.Duration
	// Acked is called when records are acknowledged, in order within a
	// partition; its error ends the work. Refused is called for each record
	// that the broker does not take. Retrying is called when the brokers have
	// not answered for a while, with the latest error, if any. The calls are
	// made one at a time.
	Acked    func([]Ack) error
	Refused  func(Record, error)
	Retrying func(error)
}

const (
	// maxBatchBytes keeps a batch below what topics take by default (1 MiB).
	maxBatchBytes   = 900_000
	maxBatchRecords = 5000
	// maxRecordBytes is more than any topic takes.
	maxRecordBytes = 32 << 20
	// overhead is what a record takes in a batch besides key and value, at most.
	overhead = 32
	// stopTimeout is how long a batch that was sent is waited for when the
	// work is to stop.
	stopTimeout = 3 * time.Second
	// slow is how long the brokers may take to answer before Retrying is called.
	slow = 2 * time.Second
)

// Publisher sends to one topic. It is for one goroutine.
type Publisher struct {
	client *kgo.Client
	opts   Options
	conns  *connections
	report sync.Mutex // held during the caller's callbacks
}

// New looks the topic up. The error is kafkaconn.ErrNoTopic, or says why the
// brokers cannot be asked. It creates no topic: its settings are the worker's to choose. Close
// the publisher after use. Connection options come from the caller.
//
// The partitioner is franz-go's default, which puts a key into the partition that
// Java's clients and the worker's producer choose.
func New(ctx context.Context, connection []kgo.Opt, opts Options) (*Publisher, error) {
	conns := &connections{}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.ProducerBatchMaxBytes(maxRecordBytes), // Run bounds what it sends at once
		kgo.WithCompressor(largeOnly{}),
		kgo.ProducerLinger(time.Second), // until ProduceSync has all: one batch a partition, in order
		kgo.RecordDeliveryTimeout(opts.GiveUpAfter),
		kgo.WithHooks(conns),
	}, connection...)...)
	if err != nil {
		return nil, fmt.Errorf("settings of Kafka: %w", err)
	}
	p := &Publisher{client: client, opts: opts, conns: conns}
	if _, err := franz.PartitionCount(ctx, client, opts.Topic); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close ends the connections.
func (p *Publisher) Close() { p.client.Close() }

// Run sends what next gives, until next returns io.EOF and all is acknowledged
// or refused. When ctx ends it sends no more, waits a few seconds for what is
// sent already, and returns the cause.
func (p *Publisher) Run(ctx context.Context, next func() (Record, error)) error {
	pace := pacer{rate: p.opts.Rate, start: time.Now()}
	var batch []Record
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := p.send(ctx, batch)
		batch, size = nil, 0
		return err
	}
	for {
		if wait := pace.wait(time.Now()); wait > 0 {
			if err := flush(); err != nil { // a record that is due does not wait for others
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
		pace.sent++
		bytes := len(record.Key) + len(record.Value) + overhead
		if len(batch) == maxBatchRecords || size+bytes > maxBatchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, record), size+bytes
	}
}

// send returns when each record of a batch is acknowledged or refused. If the
// broker refuses a batch for what is in it, its records are sent one by one.
func (p *Publisher) send(ctx context.Context, batch []Record) error {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(stopTimeout, cancel)
		context.AfterFunc(sending, func() { timer.Stop() })
	})()
	defer p.reportWhenSlow()()

	records, numbers := make([]*kgo.Record, len(batch)), make(map[*kgo.Record]int, len(batch))
	for i, r := range batch {
		records[i] = &kgo.Record{Topic: p.opts.Topic, Key: r.Key, Value: r.Value}
		numbers[records[i]] = i
	}
	failures := make([]error, len(batch))
	for _, result := range p.client.ProduceSync(sending, records...) {
		failures[numbers[result.Record]] = result.Err
	}
	var acks []Ack
	for i, err := range failures {
		if err == nil {
			acks = append(acks, Ack{Record: batch[i], Partition: records[i].Partition, Offset: records[i].Offset})
		}
	}
	if len(acks) > 0 {
		var err error
		if p.tell(func() { err = p.opts.Acked(acks) }); err != nil {
			return err
		}
	}
	for i, err := range failures {
		switch {
		case err == nil:
		case isRecordsFault(err) && len(batch) > 1:
			if err := p.send(ctx, batch[i:i+1]); err != nil {
				return err
			}
		case isRecordsFault(err):
			p.tell(func() { p.opts.Refused(batch[i], err) })
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, kgo.ErrRecordTimeout) && p.conns.last() != nil:
			return fmt.Errorf("%w: %w", err, p.conns.last())
		default:
			return err
		}
	}
	return nil
}

// reportWhenSlow calls Retrying unless stop is called soon. After stop it no longer
// calls it.
func (p *Publisher) reportWhenSlow() (stop func()) {
	var reporting sync.WaitGroup
	reporting.Add(1)
	timer := time.AfterFunc(slow, func() {
		defer reporting.Done()
		p.tell(func() { p.opts.Retrying(p.conns.last()) })
	})
	return func() {
		if timer.Stop() {
			reporting.Done()
		}
		reporting.Wait()
	}
}

func (p *Publisher) tell(call func()) {
	p.report.Lock()
	defer p.report.Unlock()
	call()
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

// connections remembers why the latest connection failed. Safe for concurrent use.
type connections struct {
	mu  sync.Mutex
	err error
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (c *connections) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *connections) last() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
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
