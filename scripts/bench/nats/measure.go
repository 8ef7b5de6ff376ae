package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// newRun makes the stream and a topic anew.
func (b *runner) newRun(ctx context.Context) (topic string, err error) {
	b.runs++
	topic = fmt.Sprintf("nats-%d", b.runs)
	if err := b.js.DeleteStream(ctx, stream); err != nil && b.runs > 1 {
		return "", err
	}
	_, err = b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: []string{subject}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		return "", err
	}
	return topic, b.site.Broker.CreateTopic(ctx, topic, b.settings.Partitions, "delete")
}

// fill fills a new stream. The broker is another one each time, since it keeps its
// records in memory.
func (b *runner) fill(ctx context.Context) (topic string, err error) {
	if err := b.site.RenewBroker(); err != nil {
		return "", err
	}
	if topic, err = b.newRun(ctx); err != nil {
		return "", err
	}
	stamper, err := rig.NewStamper(b.orders, 1)
	if err != nil {
		return "", err
	}
	for range b.settings.Messages {
		_, value := stamper.Next()
		if _, err := b.js.PublishAsync(subject, value, jetstream.WithStallWait(time.Minute)); err != nil {
			return "", err
		}
	}
	<-b.js.PublishAsyncComplete()
	return topic, nil
}

// consumeBare times the bare consumer from its start until all is acknowledged.
func (b *runner) consumeBare(ctx context.Context) (u rig.Use, err error) {
	if _, err := b.fill(ctx); err != nil {
		return u, err
	}
	cmd, err := consumerRole.Command(ctx, b.server.Addr)
	if err != nil {
		return u, err
	}
	u, _, err = rig.RunProgram(cmd, b.settings.Messages)
	return u, err
}

func (b *runner) startBridge(ctx context.Context, topic string) (*rig.Service, error) {
	return b.site.StartBridge(ctx, topic, "NATS_URL="+b.server.Addr, "NATS_STREAM="+stream, "NATS_SUBJECT="+subject)
}

// forward times the bridge likewise.
func (b *runner) forward(ctx context.Context) (u rig.Use, err error) {
	topic, err := b.fill(ctx)
	if err != nil {
		return u, err
	}
	began := time.Now()
	service, err := b.startBridge(ctx, topic)
	if err != nil {
		return u, err
	}
	b.site.StartProfile(ctx, bridge, service)
	if err := untilEmpty(ctx, b.js); err != nil {
		return u, err
	}
	u.Times, u.Took = b.settings.Messages, time.Since(began)
	if u.Client, err = procfs.CPU(service.Pid()); err != nil {
		return u, err
	}
	return u, service.Stop()
}

// rest is between two requests for an order: results may be too large by that.
const rest = 250 * time.Microsecond

// idle times one order after another from its publication until the API has it.
func (b *runner) idle(ctx context.Context) (readable []time.Duration, err error) {
	topic, err := b.newRun(ctx)
	if err != nil {
		return nil, err
	}
	database, drop, err := b.site.Server.Fresh(ctx)
	if err != nil {
		return nil, err
	}
	defer drop()
	reader, err := b.site.StartReader(ctx, database)
	if err != nil {
		return nil, err
	}
	if _, err := b.site.StartWorker(ctx, topic, database); err != nil {
		return nil, err
	}
	if _, err := b.startBridge(ctx, topic); err != nil {
		return nil, err
	}
	stamper, err := rig.NewStamper(b.orders, 2)
	if err != nil {
		return nil, err
	}
	return readable, rig.Singly(ctx, b.settings.Probes, func(_ int, counts bool) error {
		uid, value := stamper.Next()
		began := time.Now()
		if _, err := b.js.Publish(ctx, subject, value); err != nil {
			return err
		}
		if err := reader.Await(ctx, http.DefaultClient, uid, "", http.StatusNotFound, rest); err != nil {
			return err
		}
		if counts {
			readable = append(readable, time.Since(began))
		}
		return nil
	})
}
