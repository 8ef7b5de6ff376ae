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
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// latencies are how long single orders took, one at a time.
type latencies struct {
	produced  []time.Duration // from sending to the broker's acknowledgement (acks=all)
	committed []time.Duration // from sending until the order could be selected
	inserted  []time.Duration // a bare one-row INSERT with its commit, in between
}

// measureLatency sends single orders through an idle worker.
func measureLatency(ctx context.Context, t *trial, count int) (l latencies, err error) {
	const topic = "latency"
	count = min(count, len(t.orders.Values)-rig.WarmUp)
	if count < 1 {
		return l, errors.New("too few orders to time single ones")
	}
	if err := t.site.Broker.CreateTopic(ctx, topic, t.settings.Partitions, "delete"); err != nil {
		return l, err
	}
	producer, err := t.site.Broker.NewProducer(topic, 0)
	if err != nil {
		return l, err
	}
	defer producer.Close()
	conn, err := pgx.Connect(ctx, t.database)
	if err != nil {
		return l, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "CREATE TABLE bench_single (id bigint); LISTEN "+orderdb.NotifyChannel); err != nil {
		return l, err
	}
	w, err := t.site.StartWorker(ctx, topic, t.database, "KAFKA_GROUP="+t.group)
	if err != nil {
		return l, err
	}
	defer func() { _ = w.Stop() }() // each order has been found
	err = rig.Singly(ctx, count, func(i int, counts bool) error {
		uid := t.orders.Sample[i].OrderUID
		began := time.Now()
		if err := producer.ProduceSync(ctx, &kgo.Record{Key: []byte(uid), Value: t.orders.Values[i]}).FirstErr(); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		produced := time.Since(began)
		if err := waitCommitted(ctx, conn, uid); err != nil {
			return err
		}
		committed := time.Since(began)
		if err := retry.Sleep(ctx, rig.Pause(i)); err != nil {
			return err
		}
		began = time.Now()
		if _, err := conn.Exec(ctx, "INSERT INTO bench_single VALUES ($1)", i); err != nil {
			return fmt.Errorf("insert one row: %w", err)
		}
		if counts {
			l.produced, l.committed, l.inserted = append(l.produced, produced), append(l.committed, committed), append(l.inserted, time.Since(began))
		}
		return nil
	})
	return l, err
}

// waitCommitted returns once an order can be selected. Until then it waits for
// notifications, so that it keeps no core busy that the worker needs.
func waitCommitted(ctx context.Context, conn *pgx.Conn, uid string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var stored bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM orders WHERE order_uid = $1)", uid).Scan(&stored); err != nil {
			return fmt.Errorf("look for order %s: %w", uid, err)
		}
		if stored {
			return nil
		}
		const unnotified = 5 * time.Millisecond
		waiting, stop := context.WithTimeout(ctx, unnotified)
		_, err := conn.WaitForNotification(waiting)
		stop()
		if err != nil && waiting.Err() == nil {
			return fmt.Errorf("wait for a notification: %w", err)
		}
	}
}
