package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

// latencies are how long single orders took, one at a time.
type latencies struct {
	produced  []time.Duration // from sending to the broker's acknowledgement (acks=all)
	committed []time.Duration // from sending until the order could be selected
	inserted  []time.Duration // a bare one-row INSERT with its commit, in between
}

// pause is the quiet before each order, so that each finds an idle worker. It
// takes different lengths, so as not to keep step with anything.
func pause(i int) time.Duration { return time.Duration(3+i%7) * time.Millisecond }

// warmUp is how many first orders are not counted: connections are opened then.
const warmUp = 5

// measureLatency sends single orders through an idle worker.
func measureLatency(ctx context.Context, t *trial, count int) (l latencies, err error) {
	const topic = "latency"
	count = min(count, len(t.orders.Values)-warmUp)
	if count < 1 {
		return l, errors.New("too few orders to time single ones")
	}
	p, err := newProbe(ctx, t, topic)
	if err != nil {
		return l, err
	}
	defer p.close()
	w, err := t.site.StartWorker(ctx, topic, t.database, "KAFKA_GROUP="+t.group)
	if err != nil {
		return l, err
	}
	defer func() { _ = w.Stop() }() // what it did has been checked
	for i := range warmUp + count {
		if err := retry.Sleep(ctx, pause(i)); err != nil {
			return l, err
		}
		produced, committed, err := p.order(ctx, t.orders.Sample[i].OrderUID, t.orders.Values[i])
		if err != nil {
			return l, err
		}
		if err := retry.Sleep(ctx, pause(i)); err != nil {
			return l, err
		}
		inserted, err := p.insert(ctx, i)
		if err != nil {
			return l, err
		}
		if i >= warmUp {
			l.produced = append(l.produced, produced)
			l.committed = append(l.committed, committed)
			l.inserted = append(l.inserted, inserted)
		}
	}
	return l, nil
}

// probe sends orders and looks for them.
type probe struct {
	producer *kgo.Client
	sql      *pgx.Conn
	listener *pgx.Conn
	notified chan struct{}
	stop     context.CancelFunc
	stopped  chan struct{}
}

func newProbe(ctx context.Context, t *trial, topic string) (*probe, error) {
	if err := t.site.Broker.CreateTopic(ctx, topic, t.settings.Partitions); err != nil {
		return nil, err
	}
	producer, err := t.site.Broker.NewProducer(topic)
	if err != nil {
		return nil, err
	}
	p := &probe{producer: producer, notified: make(chan struct{}, 1), stopped: make(chan struct{})}
	if err := p.connect(ctx, t); err != nil {
		producer.Close()
		return nil, err
	}
	listening, stop := context.WithCancel(ctx)
	p.stop = stop
	go p.listen(listening)
	return p, nil
}

func (p *probe) connect(ctx context.Context, t *trial) (err error) {
	if p.sql, err = pgx.Connect(ctx, t.database); err != nil {
		return err
	}
	if p.listener, err = pgx.Connect(ctx, t.database); err != nil {
		return err
	}
	if _, err := p.sql.Exec(ctx, "CREATE TABLE bench_single (id bigint)"); err != nil {
		return err
	}
	_, err = p.listener.Exec(ctx, "LISTEN "+orderdb.NotifyChannel)
	return err
}

func (p *probe) listen(ctx context.Context) {
	defer close(p.stopped)
	for {
		if _, err := p.listener.WaitForNotification(ctx); err != nil {
			return // order polls as well
		}
		select {
		case p.notified <- struct{}{}:
		default:
		}
	}
}

func (p *probe) close() {
	p.stop()
	<-p.stopped
	p.producer.Close()
	for _, conn := range []*pgx.Conn{p.sql, p.listener} {
		_ = conn.Close(context.Background()) // it was only read
	}
}

// order sends an order and returns when it can be selected. Until then it waits
// for notifications, so that it keeps no core busy that the worker needs.
func (p *probe) order(ctx context.Context, uid string, value []byte) (produced, committed time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	if err := p.producer.ProduceSync(ctx, &kgo.Record{Key: []byte(uid), Value: value}).FirstErr(); err != nil {
		return 0, 0, fmt.Errorf("produce: %w", err)
	}
	produced = time.Since(began)
	for {
		var there bool
		if err := p.sql.QueryRow(ctx, "SELECT EXISTS (SELECT FROM orders WHERE order_uid = $1)", uid).Scan(&there); err != nil {
			return 0, 0, fmt.Errorf("look for order %s: %w", uid, err)
		}
		if there {
			return produced, time.Since(began), nil
		}
		const unnotified = 5 * time.Millisecond
		select {
		case <-p.notified:
		case <-time.After(unnotified):
		}
	}
}

func (p *probe) insert(ctx context.Context, i int) (time.Duration, error) {
	began := time.Now()
	if _, err := p.sql.Exec(ctx, "INSERT INTO bench_single VALUES ($1)", i); err != nil {
		return 0, fmt.Errorf("insert one row: %w", err)
	}
	return time.Since(began), nil
}
