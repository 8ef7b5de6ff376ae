package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// sample is one run of a contender.
type sample struct{ took, cpu time.Duration }

// runner has what all measurements share.
type runner struct {
	settings *settings
	site     *rig.Site
	server   *program.Child
	js       jetstream.JetStream
	orders   *rig.Orders
	runs     int
}

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

func (b *runner) startBridge(ctx context.Context, topic string) (*rig.Service, error) {
	return b.site.StartBridge(ctx, topic, "NATS_URL="+b.server.Addr, "NATS_STREAM="+stream, "NATS_SUBJECT="+subject)
}

// consume fills the stream, and times a contender from its start until all is
// acknowledged. The broker is another one each time, since it keeps its records in
// memory.
func (b *runner) consume(ctx context.Context, contender string) (s sample, err error) {
	if err := b.site.RenewBroker(); err != nil {
		return s, err
	}
	topic, err := b.newRun(ctx)
	if err != nil {
		return s, err
	}
	stamper, err := rig.NewStamper(b.orders, 1)
	if err != nil {
		return s, err
	}
	for range b.settings.Messages {
		_, value := stamper.Next()
		if _, err := b.js.PublishAsync(subject, value, jetstream.WithStallWait(time.Minute)); err != nil {
			return s, err
		}
	}
	<-b.js.PublishAsyncComplete()
	if contender == bare {
		cmd, err := consumerRole.Command(ctx, b.server.Addr)
		if err != nil {
			return s, err
		}
		began := time.Now()
		err = cmd.Run()
		s.took = time.Since(began)
		if err == nil {
			s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
		return s, err
	}
	began := time.Now()
	service, err := b.startBridge(ctx, topic)
	if err != nil {
		return s, err
	}
	b.site.StartProfile(ctx, bridge, service)
	if err := untilEmpty(ctx, b.js); err != nil {
		return s, err
	}
	s.took = time.Since(began)
	if s.cpu, err = procfs.CPU(service.Pid()); err != nil {
		return s, err
	}
	return s, service.Stop()
}

const (
	// warmUp is how many first orders are not counted: connections are opened then.
	warmUp = 20
	// rest is between two requests for an order: results may be too large by that.
	rest = 250 * time.Microsecond
)

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
	for i := range warmUp + b.settings.Probes {
		time.Sleep(time.Duration(3+i%7) * time.Millisecond) // coincides with nothing periodic
		uid, value := stamper.Next()
		began := time.Now()
		if _, err := b.js.Publish(ctx, subject, value); err != nil {
			return nil, err
		}
		for status := 0; status != http.StatusOK; time.Sleep(rest) {
			response, err := http.Get("http://" + reader.Addr + "/order/" + uid)
			if err != nil {
				return nil, err
			}
			_ = response.Body.Close()
			if status = response.StatusCode; status != http.StatusOK && status != http.StatusNotFound || time.Since(began) > time.Minute {
				return nil, fmt.Errorf("order %s: the API answers %d after %v", uid, status, time.Since(began))
			}
		}
		if i >= warmUp {
			readable = append(readable, time.Since(began)-rest)
		}
	}
	return readable, nil
}
