// Package forward produces messages of a stream into the topic of the orders, and
// acknowledges each once Kafka has it.
//
// Messages with the same key reach their partition in the order in which they were
// accepted: a message is produced when the one before it with this key is in Kafka,
// and it is retried in place. Messages are acknowledged in the order in which they
// were accepted. What was forwarded and is delivered again is acknowledged again,
// not produced again, as far as it is remembered.
package forward

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
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/outage"
)

const (
	// stallAfter is how long a message may wait for Kafka before Kafka counts as away.
	stallAfter = 5 * time.Second
	// checkInterval is how often an idle forwarder asks whether Kafka is there.
	checkInterval = 5 * time.Second
	watchInterval = time.Second
	maxBackoff    = 5 * time.Second
	// aloneMaxBytes bounds a record that is produced alone. It is below the largest
	// request that brokers take by default.
	aloneMaxBytes = 90 << 20
)

// Config of a forwarder.
type Config struct {
	Topic, DLQTopic string
	Durable         string // who forwards, as dead letters name it
	MaxMessages     int    // in flight
	MaxBytes        int    // in flight; a single larger message goes alone
	// AckWait is the time after which the server delivers again what was neither
	// acknowledged nor reported as in progress.
	AckWait time.Duration
	// Grace is how long Stop waits for Kafka's acknowledgements.
	Grace time.Duration
}

// Forwarder is the way from a stream into Kafka. Take, Accept and Room are for one
// goroutine, the source's.
type Forwarder struct {
	cfg     Config
	client  *kgo.Client
	alone   *kgo.Client // for records and dead letters that go in a request of their own
	kafka   *outage.Outage
	metrics *Metrics
	log     *zap.Logger
	runner  lifecycle.Runner
	room    chan struct{} // signals that messages have left

	aloneTurn sync.Mutex

	mu      sync.Mutex
	window  window
	failure error // the last since a message got through
	success bool  // a message got through since watch looked
	stopped bool
}

// New returns a forwarder that connects to Kafka when it is started. The options
// say where Kafka is.
func New(cfg Config, options []kgo.Opt, kafka *outage.Outage, metrics *Metrics, log *zap.Logger) (*Forwarder, error) {
	options = append([]kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()), // idempotence is on by default
		kgo.ProducerLinger(0),
		// The window bounds what is in flight; a message above MaxMessages is a copy.
		kgo.MaxBufferedRecords(cfg.MaxMessages + 1000),
	}, options...)
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	alone, err := kgo.NewClient(append(options, kgo.ProducerBatchMaxBytes(aloneMaxBytes))...)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Forwarder{
		cfg: cfg, client: client, alone: alone, kafka: kafka, metrics: metrics, log: log,
		room: make(chan struct{}, 1), window: newWindow(),
	}, nil
}

// Start looks after Kafka and slow messages in the background.
func (f *Forwarder) Start(context.Context) error {
	f.runner.Go(f.watch)
	return nil
}

// Stop waits up to Config.Grace until Kafka has acknowledged what is in flight.
// The rest is given back to the stream. The source must have stopped before.
func (f *Forwarder) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), f.cfg.Grace)
	defer cancel()
	for f.inFlight() > 0 {
		select {
		case <-f.room:
			continue
		case <-ctx.Done():
		}
		break
	}
	f.mu.Lock()
	f.stopped = true
	left := 0
	for it := f.window.head; it != nil; it = it.next {
		if it.message.Delivery == nil {
			continue
		}
		if it.produced {
			f.acknowledge(it.message.Delivery)
		} else if err := it.message.Delivery.Nak(); err != nil {
			f.log.Debug("message not given back; it is delivered again later", zap.Error(err))
		}
		left++
	}
	f.mu.Unlock()
	if left > 0 {
		f.log.Warn("stopped before Kafka took all messages; the stream delivers the rest again", zap.Int("messages", left))
	}
	f.runner.Stop()
	f.client.Close()
	f.alone.Close()
}

func (f *Forwarder) inFlight() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.window.messages
}

// Oldest is the sequence of the oldest message in flight, 0 for none.
func (f *Forwarder) Oldest() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.window.head == nil {
		return 0
	}
	return f.window.head.message.Sequence
}

// Room waits until a quarter of the messages and largest bytes fit, and returns
// how many messages and bytes do. With nothing in flight largest bytes always fit.
func (f *Forwarder) Room(ctx context.Context, largest int) (messages, bytes int, err error) {
	for {
		f.mu.Lock()
		messages, bytes = f.cfg.MaxMessages-f.window.messages, f.cfg.MaxBytes-f.window.bytes
		if f.window.messages == 0 {
			bytes = max(bytes, largest)
		}
		f.mu.Unlock()
		if messages >= max(1, f.cfg.MaxMessages/4) && bytes >= largest {
			return messages, bytes, nil
		}
		select {
		case <-f.room:
		case <-ctx.Done():
			return 0, 0, context.Cause(ctx)
		}
	}
}

// Take takes a message over as soon as there is room for it.
func (f *Forwarder) Take(ctx context.Context, m Message) error {
	if _, _, err := f.Room(ctx, m.Size()); err != nil {
		return err
	}
	f.Accept(m)
	return nil
}

// Accept takes a message over. It does not wait: ask for Room before.
func (f *Forwarder) Accept(m Message) {
	f.mu.Lock()
	id := identityOf(&m)
	if it := f.window.items[id]; it != nil {
		if m.Delivery != nil {
			it.message.Delivery, it.reported = m.Delivery, time.Now()
		}
		f.mu.Unlock()
		f.metrics.redelivered.Inc()
		return
	}
	if f.window.isForwarded(id) {
		f.mu.Unlock()
		f.metrics.redelivered.Inc()
		f.acknowledge(m.Delivery)
		return
	}
	now := time.Now()
	it := &item{message: m, record: newRecord(f.cfg.Topic, &m), size: m.Size(), accepted: now, reported: now}
	it.trace()
	mayProduce := f.window.add(it)
	f.metrics.inFlight(&f.window)
	f.mu.Unlock()
	if mayProduce {
		f.produce(it)
	}
}

func (f *Forwarder) produce(it *item) {
	f.client.Produce(context.Background(), it.record, func(_ *kgo.Record, err error) { f.settle(it, err) })
}

// settle follows up on a record's outcome.
func (f *Forwarder) settle(it *item, err error) {
	switch {
	case err == nil:
		f.complete(it, forwarded)
	case isTooLarge(err):
		// The broker refuses a request as a whole: whether this record is the one
		// that is too large shows when it is sent alone.
		f.runner.Go(func(ctx context.Context) { f.produceAlone(ctx, it) })
	default:
		f.fail(franz.Refused(err, "Write", f.cfg.Topic))
		f.runner.Go(func(ctx context.Context) {
			if it.wait(ctx) == nil {
				f.produce(it)
			}
		})
	}
}

func (it *item) wait(ctx context.Context) error {
	if it.retry == nil {
		it.retry = retry.NewBackoff(maxBackoff)
	}
	return it.retry.Wait(ctx)
}

// produceAlone produces a record in a request of its own. One that Kafka refuses
// for its size becomes a dead letter.
func (f *Forwarder) produceAlone(ctx context.Context, it *item) {
	f.aloneTurn.Lock()
	defer f.aloneTurn.Unlock()
	for ctx.Err() == nil {
		outcome := forwarded
		err := franz.Refused(f.alone.ProduceSync(ctx, it.record).FirstErr(), "Write", f.cfg.Topic)
		if isTooLarge(err) {
			outcome = deadLetter
			err = franz.Refused(f.writeLetter(ctx, it, err), "Write", f.cfg.DLQTopic)
		}
		if err == nil {
			f.complete(it, outcome)
			return
		}
		f.fail(err)
		_ = it.wait(ctx) // the loop looks at ctx
	}
}

func isTooLarge(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
}

// complete lets go of a message that is in Kafka.
func (f *Forwarder) complete(it *item, outcome string) {
	f.metrics.outcomes.WithLabelValues(outcome).Inc()
	if it.span != nil {
		it.span.SetAttributes(tracing.Outcome.String(outcome))
		it.span.End()
	}
	f.metrics.took.Observe(time.Since(it.accepted).Seconds())
	f.mu.Lock()
	f.failure, f.success = nil, true
	leaving, next := f.window.produced(it)
	f.metrics.inFlight(&f.window)
	stopped := f.stopped
	f.mu.Unlock()
	for _, left := range leaving {
		f.acknowledge(left.message.Delivery)
	}
	if next != nil && !stopped {
		f.produce(next)
	}
	select {
	case f.room <- struct{}{}:
	default:
	}
}

// acknowledge may fail without harm: the message is delivered again, and
// recognized.
func (f *Forwarder) acknowledge(delivery Delivery) {
	if delivery == nil {
		return
	}
	if err := delivery.Ack(); err != nil {
		f.log.Debug("acknowledgement failed; the message is delivered again", zap.Error(err))
	}
}

func (f *Forwarder) fail(err error) {
	f.kafka.Failed()
	f.mu.Lock()
	f.failure = err
	f.mu.Unlock()
}

// watch reports whether Kafka takes messages, and tells the server of those that
// take long.
func (f *Forwarder) watch(ctx context.Context) {
	admin := kadm.NewClient(f.client)
	var checked time.Time
	for {
		now := time.Now()
		age, success, err := f.reportProgress(now)
		if err == nil && !success && now.Sub(checked) >= checkInterval {
			checked = now
			err = f.check(ctx, admin)
			success = err == nil
		}
		switch {
		case err != nil:
			checked = time.Time{} // ask again soon
			f.kafka.Begin(err)
		case age > stallAfter:
			f.kafka.Begin(fmt.Errorf("no acknowledgement for %v, although the brokers answer", age.Round(time.Second)))
		case success:
			f.kafka.End()
		}
		if retry.Sleep(ctx, watchInterval) != nil {
			return
		}
	}
}

// check returns why the topic cannot be written, as far as the brokers say so.
func (f *Forwarder) check(ctx context.Context, admin *kadm.Client) error {
	ctx, cancel := context.WithTimeout(ctx, stallAfter)
	defer cancel()
	topics, err := admin.ListTopics(ctx, f.cfg.Topic)
	return franz.Refused(cmp.Or(err, topics.Error()), kafkaconn.Describe, f.cfg.Topic)
}

// reportProgress postpones the redelivery of messages that have been in flight for
// long. It returns the age of the oldest message in flight, whether a message got
// through since the last call, and the last failure since then.
func (f *Forwarder) reportProgress(now time.Time) (age time.Duration, success bool, failure error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.window.head != nil {
		age = now.Sub(f.window.head.accepted)
	}
	if age >= f.cfg.AckWait/3 {
		for it := f.window.head; it != nil; it = it.next {
			if it.message.Delivery != nil && now.Sub(it.reported) >= f.cfg.AckWait/3 {
				it.reported = now
				_ = it.message.Delivery.InProgress() // without it the message is delivered again
			}
		}
	}
	success, f.success = f.success, false
	return age, success, f.failure
}
