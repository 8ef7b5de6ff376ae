// Command nats measures how fast nats-bridge takes messages from JetStream into
// Kafka, against how fast they can be consumed at all: a bare consumer that
// acknowledges at once. It also times single orders from the publisher to the API,
// through bridge, worker and reader.
//
// The broker and each contender are processes of their own. The NATS server is in this
// one, which is not measured.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/orderhub/orderhub/scripts/bench/internal/procfs"
	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func main() { program.Main(benchmark, &settings{}, bench, rig.BrokerRole, consumerRole) }

var benchmark = program.Named("nats", "The speed of nats-bridge against a bare JetStream consumer, and the time from publisher to API.")

type settings struct {
	program.Flags
	Messages   int `default:"200000" full:"200000" smoke:"2000" min:"1" help:"Messages in the stream, each an order."`
	Items      int `default:"1" min:"1" help:"Items of each order."`
	Partitions int `default:"4" min:"1" help:"Partitions of the topic."`
	Rounds     int `default:"5" smoke:"1" min:"1" help:"How often each contender consumes the stream; the table has medians."`
	Probes     int `default:"1000" smoke:"20" min:"1" help:"Single orders that are timed through idle services."`
}

const (
	stream  = "ORDERS"
	subject = "orders"
	bare    = "bare JetStream consumer"
	bridge  = "nats-bridge"
	// fetched is how many messages the bare consumer asks for at once.
	fetched = 2048
)

// consumerRole is the process of the bare consumer. Its argument is the server's
// address.
var consumerRole = program.Role{Name: "consumer", Run: func(server string, _ io.Reader, _ io.Writer) error {
	ctx := context.Background()
	js, closeConn, err := connect(server)
	if err != nil {
		return err
	}
	defer closeConn()
	consumer, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: "bare", FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10 * fetched,
	})
	if err != nil {
		return err
	}
	for left := consumer.CachedInfo().NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, fetched)))
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			if err := m.Ack(); err != nil {
				return err
			}
			left--
		}
		if err := batch.Error(); err != nil {
			return err
		}
	}
	return untilEmpty(ctx, js)
}}

func connect(server string) (jetstream.JetStream, func(), error) {
	conn, err := nats.Connect(server)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(10*fetched))
	return js, conn.Close, err
}

// untilEmpty waits until every message is acknowledged: then the stream, a work
// queue, has none.
func untilEmpty(ctx context.Context, js jetstream.JetStream) error {
	for {
		s, err := js.Stream(ctx, stream)
		if err != nil || s.CachedInfo().State.Msgs == 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// runner has what all measurements share.
type runner struct {
	settings *settings
	site     *rig.Site
	server   string // URL
	js       jetstream.JetStream
	orders   *rig.Orders
	runs     int
}

func bench(ctx context.Context, s *settings) (err error) {
	site, err := rig.OpenSite(ctx, s.Common(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	server, err := natsserver.Start(natsserver.Options{DataDir: site.Folder + "/nats"})
	if err != nil {
		return err
	}
	defer server.Stop()
	b := &runner{settings: s, site: site, server: server.URL()}
	var disconnect func()
	if b.js, disconnect, err = connect(b.server); err != nil {
		return err
	}
	defer disconnect()
	if b.orders, err = site.Store(ctx, min(s.Messages, 10_000), s.Items); err != nil {
		return err
	}
	samples, err := program.Measure(ctx, s.Rounds, []program.Contender[rig.Use]{{Name: bare, Run: b.consumeBare}, {Name: bridge, Run: b.forward}},
		func(u rig.Use) string { return fmt.Sprintf("%6.2f s", u.Seconds()) })
	if err != nil {
		return err
	}
	program.Progress("timing single orders through idle services")
	readable, err := b.idle(ctx)
	if err != nil {
		return err
	}
	return site.Save("nats", b.text(samples, readable))
}

func (b *runner) text(samples report.Samples[rig.Use], readable []time.Duration) string {
	title := fmt.Sprintf("A stream of %s orders of %d items, into a topic of %d partitions", report.Thousands(b.settings.Messages), b.settings.Items, b.settings.Partitions)
	ms := func(p float64) float64 { return report.Percentile(readable, p).Seconds() * 1000 }
	return samples.Table(title, []report.Column[rig.Use]{
		{Name: "seconds", Figure: rig.Use.Seconds, Format: report.Decimals(2)},
		{Name: "messages/s", Figure: rig.Use.Rate, Format: report.Thousands[float64]},
		{Name: "× bare", Figure: rig.Use.Rate, Format: report.Decimals(2), Ratio: true},
		{Name: "client µs/message", Figure: rig.Use.ClientCost, Format: report.Decimals(1)},
	}, bare, bridge) + fmt.Sprintf(`
- nats-bridge: %.2f × the bare consumer's speed (goal: at least 0.70)
- published → readable, idle, %d orders: p50 %.1f ms, p99 %.1f ms (goal: at most 30)
`, samples.Ratio(bridge, bare, rig.Use.Rate), len(readable), ms(0.5), ms(0.99))
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
	cmd, err := consumerRole.Command(ctx, b.server)
	if err != nil {
		return u, err
	}
	u, _, err = rig.RunProgram(cmd, b.settings.Messages)
	return u, err
}

func (b *runner) startBridge(ctx context.Context, topic string) (*rig.Service, error) {
	return b.site.StartBridge(ctx, topic, "NATS_URL="+b.server, "NATS_STREAM="+stream, "NATS_SUBJECT="+subject)
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
	used, err := procfs.Of(service.Pid())
	u.Client = used.CPU
	return u, errors.Join(err, service.Stop())
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
	err = rig.Singly(ctx, b.settings.Probes, func(_ int, counts bool) error {
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
	return readable, err
}
