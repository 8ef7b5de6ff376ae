package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// uidLength is that of the uids that orderctl publish makes: 15 hexadecimal
// digits and "test".
const uidLength = 19

// Stamper makes records of new orders from existing ones, by another uid. That
// costs next to nothing. It is not safe for concurrent use.
type Stamper struct {
	orders *Orders
	seed   uint64
	made   uint64
}

// NewStamper takes the sample of the orders as its templates. Stampers of
// different seeds, from 0 to 255, make different uids.
func NewStamper(orders *Orders, seed uint8) (*Stamper, error) {
	for _, o := range orders.Sample {
		if len(o.OrderUID) != uidLength {
			return nil, fmt.Errorf("order %q is no template: its uid is not of %d characters", o.OrderUID, uidLength)
		}
	}
	if len(orders.Sample) == 0 {
		return nil, errors.New("there are no orders to use as templates")
	}
	return &Stamper{orders: orders, seed: uint64(seed)}, nil
}

// Next makes a record.
func (s *Stamper) Next() (uid string, value []byte) {
	i := s.made % uint64(len(s.orders.Sample))
	uid = StampedUID(s.seed, s.made)
	s.made++
	return uid, bytes.ReplaceAll(s.orders.Values[i], []byte(s.orders.Sample[i].OrderUID), []byte(uid))
}

// StampedUID is the uid of a stamper's n-th order. Uids do not repeat, and those of
// one stamper are spread over the whole range.
func StampedUID(seed, n uint64) string {
	const mask = 1<<60 - 1
	x := (seed<<52 | n) & mask // each step maps 60 bits one to one
	for range 2 {
		x = x * 0x9e3779b97f4a7c15 & mask
		x ^= x >> 31
	}
	return fmt.Sprintf("%015xtest", x)
}

// loadLinger is how long a Load collects records: the default of Kafka's own
// producer since version 4.0.
const loadLinger = 5 * time.Millisecond

// Load sends orders at a rate that can be changed meanwhile, whether the services
// keep up or not.
type Load struct {
	producer *kgo.Client
	stamper  *Stamper
	rate     atomic.Uint64 // bits of a float64
	acked    atomic.Int64
	failed   atomic.Pointer[error]
	stop     context.CancelFunc
	stopped  chan struct{}
}

// StartLoad begins with a rate of 0.
func StartLoad(ctx context.Context, b *Broker, topic string, stamper *Stamper) (*Load, error) {
	producer, err := b.NewProducer(topic, loadLinger)
	if err != nil {
		return nil, err
	}
	l := &Load{producer: producer, stamper: stamper, stopped: make(chan struct{})}
	ctx, l.stop = context.WithCancel(ctx)
	go l.run(ctx)
	return l, nil
}

// SetRate sets the orders a second.
func (l *Load) SetRate(rate float64) { l.rate.Store(math.Float64bits(rate)) }

// Acked is how many orders all replicas have.
func (l *Load) Acked() int64 { return l.acked.Load() }

// Stop ends the load, and returns an error where an order could not be sent.
func (l *Load) Stop() error {
	l.stop()
	<-l.stopped
	l.producer.Close()
	if err := l.failed.Load(); err != nil {
		return fmt.Errorf("send orders: %w", *err)
	}
	return nil
}

func (l *Load) run(ctx context.Context) {
	defer close(l.stopped)
	const tick = 2 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last, owed := time.Now(), 0.0
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			// Records in flight are sent, so that the count is right.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			if err := l.producer.Flush(ctx); err != nil {
				l.failed.CompareAndSwap(nil, &err)
			}
			return
		case now = <-ticker.C:
		}
		owed += now.Sub(last).Seconds() * math.Float64frombits(l.rate.Load())
		last = now
		for ; owed >= 1; owed-- {
			uid, value := l.stamper.Next()
			l.producer.Produce(context.WithoutCancel(ctx), &kgo.Record{Key: []byte(uid), Value: value}, l.done)
		}
	}
}

func (l *Load) done(_ *kgo.Record, err error) {
	if err != nil {
		l.failed.CompareAndSwap(nil, &err)
		return
	}
	l.acked.Add(1)
}
