package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// uidLength is that of the uids that orderctl publish makes: 15 hexadecimal
// digits and "test".
const uidLength = 19

// Stamper makes records of orders that nobody else makes, at next to no cost: it
// writes other uids over those of records that are there. It is not safe for
// concurrent use.
type Stamper struct {
	templates []template
	seed      uint64
	made      uint64
}

// template is a record, with where its uid stands.
type template struct {
	value []byte
	at    []int
}

// NewStamper takes the sample of the orders as its templates. Stampers of
// different seeds, from 0 to 255, make different uids.
func NewStamper(orders *Orders, seed uint8) (*Stamper, error) {
	s := &Stamper{seed: uint64(seed)}
	for i, value := range orders.Values {
		uid := []byte(orders.Sample[i].OrderUID)
		t := template{value: value}
		for from := 0; ; {
			at := bytes.Index(value[from:], uid)
			if at < 0 {
				break
			}
			t.at = append(t.at, from+at)
			from += at + len(uid)
		}
		if len(uid) != uidLength || len(t.at) == 0 {
			return nil, fmt.Errorf("order %q is no template: its uid is not of %d characters", uid, uidLength)
		}
		s.templates = append(s.templates, t)
	}
	if len(s.templates) == 0 {
		return nil, errors.New("there are no orders to make others of")
	}
	return s, nil
}

// Next makes a record.
func (s *Stamper) Next() (uid string, value []byte) {
	t := &s.templates[s.made%uint64(len(s.templates))]
	uid = StampedUID(s.seed, s.made)
	s.made++
	value = bytes.Clone(t.value)
	for _, at := range t.at {
		copy(value[at:], uid)
	}
	return uid, value
}

// StampedUID is the uid of a stamper's n-th order. Those of one stamper lie
// anywhere between one another, and none comes twice.
func StampedUID(seed, n uint64) string {
	const mask = 1<<60 - 1
	x := (seed<<52 | n) & mask // each step maps 60 bits one to one
	for range 2 {
		x = x * 0x9e3779b97f4a7c15 & mask
		x ^= x >> 31
	}
	return fmt.Sprintf("%015xtest", x)
}

// segmentBytes is how much of a partition the broker keeps in one piece of memory.
// A piece that is full is copied into one of twice the size, and meanwhile nobody
// is answered: with the usual 100 MiB for a third of a second now and then, which no
// broker on disks does.
const segmentBytes = 4 << 20

// CreateTopic makes a topic.
func (b *Broker) CreateTopic(ctx context.Context, topic string, partitions int) error {
	return b.admin(func(admin *kadm.Client) error {
		segment := strconv.Itoa(segmentBytes)
		_, err := admin.CreateTopic(ctx, int32(partitions), 1, map[string]*string{"segment.bytes": &segment}, topic)
		if err != nil {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
		return nil
	})
}

// Trim drops the records that the group is done with: the broker keeps them in
// memory.
func (b *Broker) Trim(ctx context.Context, group string) error {
	return b.admin(func(admin *kadm.Client) error {
		committed, err := admin.FetchOffsets(ctx, group)
		if err != nil {
			return fmt.Errorf("read the offsets of group %s: %w", group, err)
		}
		deleted, err := admin.DeleteRecords(ctx, committed.Offsets())
		if err == nil {
			err = deleted.Error()
		}
		if err != nil {
			return fmt.Errorf("drop records that group %s is done with: %w", group, err)
		}
		return nil
	})
}

func (b *Broker) admin(use func(*kadm.Client) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		return err
	}
	defer client.Close()
	return use(kadm.NewClient(client))
}

// NewProducer is a client that sends at once, and waits for all replicas.
func (b *Broker) NewProducer(topic string) (*kgo.Client, error) { return b.newProducer(topic, 0) }

func (b *Broker) newProducer(topic string, linger time.Duration) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(linger),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()))
}

// loadLinger is how long a Load gathers records to send: what Kafka's own producer
// does since version 4.0.
const loadLinger = 5 * time.Millisecond

// Load sends orders at a rate that can be changed on the way, whether they are
// taken or not.
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
	producer, err := b.newProducer(topic, loadLinger)
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

// Stop ends the load, and tells whether an order could not be sent.
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
			// What was begun is sent: the count has to be right.
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
