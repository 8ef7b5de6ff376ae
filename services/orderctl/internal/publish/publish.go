// Package publish sends records to Kafka or NATS, and reports each record when it
// is stored there.
package publish

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/platform/retry"
)

// Record is what is to be sent.
type Record struct {
	Key   []byte // in Kafka records with the same key keep their order; nil: any partition
	Value []byte // nil is a tombstone
	// ID lets a stream of NATS recognize a record that was sent before; it may be "".
	ID string
	// Traceparent is the header that makes receivers continue a trace; nil: none. Options.Trace
	// sets it, and NATS Streaming has no headers.
	Traceparent []byte
	// Info is the caller's, and comes back with the acknowledgement.
	Info any
}

// Place is where a record is stored, as far as the broker tells.
type Place struct {
	*TopicPlace
	*StreamPlace
}

// TopicPlace is a place in a topic of Kafka.
type TopicPlace struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// StreamPlace is a place in a stream of NATS.
type StreamPlace struct {
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
	// Duplicate is set where the stream had a record with this ID, and has not
	// stored this one.
	Duplicate bool `json:"duplicate,omitempty"`
}

// Ack is a record that the broker has.
type Ack struct {
	Record
	Place
}

// Result is what became of a record that was sent.
type Result struct {
	Place Place
	Err   error
	// Refused is set where Err is about the record, or about one that was sent
	// together with it.
	Refused bool
}

// Broker stores records.
type Broker interface {
	// Send sends records and waits until it knows what became of each of them. It
	// tries again what may pass. When ctx ends it gives up.
	Send(ctx context.Context, batch []Record) []Result
	// Trouble says why the broker cannot be reached now, nil where that is not known.
	Trouble() error
	// Close ends the connections.
	Close()
}

// Options of a Publisher.
type Options struct {
	// Rate is in records a second; 0 means as fast as possible.
	Rate float64
	// Acked is called when records are acknowledged, in order within a
	// partition; its error ends the work. Refused is called for each record
	// that the broker does not take. Retrying is called when the broker has
	// not answered for a while, with the latest error, if any. The calls are
	// made one at a time.
	Acked    func([]Ack) error
	Refused  func(Record, error)
	Retrying func(error)
	// Trace begins the span of a record that is about to be sent. end is called with what
	// became of it. nil: there are no spans.
	Trace func(Record) (traceparent []byte, end func(Result))
}

const (
	// maxBatchBytes keeps a batch below what topics take by default (1 MiB).
	maxBatchBytes   = 900_000
	maxBatchRecords = 5000
	// overhead is what a record takes in a batch besides key and value, at most.
	overhead = 32
	// stopTimeout is how long a batch that was sent is waited for when the
	// work is to stop.
	stopTimeout = 3 * time.Second
	// slow is how long the broker may take to answer before Retrying is called.
	slow = 2 * time.Second
	// shortestWait is a wait that a timer can keep. What is due by then passes at once.
	shortestWait = 5 * time.Millisecond
)

// Publisher sends to one broker. It is for one goroutine.
type Publisher struct {
	broker Broker
	opts   Options
	report sync.Mutex // held during the caller's callbacks
}

// New returns a publisher. The broker stays the caller's, to close.
func New(broker Broker, opts Options) *Publisher { return &Publisher{broker: broker, opts: opts} }

// Run sends what next gives, until next returns io.EOF and all is acknowledged
// or refused. When ctx ends it sends no more, waits a few seconds for what is
// sent already, and returns the cause.
func (p *Publisher) Run(ctx context.Context, next func() (Record, error)) error {
	pace := rate.NewLimiter(rate.Inf, 0)
	if p.opts.Rate > 0 {
		pace = rate.NewLimiter(rate.Limit(p.opts.Rate), max(1, int(p.opts.Rate*shortestWait.Seconds())))
	}
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
		if wait := pace.Reserve().Delay(); wait > 0 {
			if err := flush(); err != nil { // a record that is due does not wait for others
				return err
			}
			if err := retry.Sleep(ctx, max(wait, shortestWait)); err != nil {
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

	ends := make([]func(Result), len(batch))
	for i := range batch {
		if p.opts.Trace != nil {
			batch[i].Traceparent, ends[i] = p.opts.Trace(batch[i])
		}
	}
	results := p.broker.Send(sending, batch)
	for i, end := range ends {
		if end != nil {
			end(results[i])
		}
	}
	var acks []Ack
	for i, r := range results {
		if r.Err == nil {
			acks = append(acks, Ack{Record: batch[i], Place: r.Place})
		}
	}
	if len(acks) > 0 {
		var err error
		if p.tell(func() { err = p.opts.Acked(acks) }); err != nil {
			return err
		}
	}
	for i, r := range results {
		switch {
		case r.Err == nil:
		case r.Refused && len(batch) > 1:
			if err := p.send(ctx, batch[i:i+1]); err != nil {
				return err
			}
		case r.Refused:
			p.tell(func() { p.opts.Refused(batch[i], r.Err) })
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return r.Err
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
		p.tell(func() { p.opts.Retrying(p.broker.Trouble()) })
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
