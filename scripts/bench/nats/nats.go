// Package nats measures how fast nats-bridge takes messages from JetStream into
// Kafka, against how fast they can be consumed at all: a bare consumer that
// acknowledges at once. It also times single orders from the publisher to the API,
// through bridge, worker and reader.
//
// The broker and each contender are processes of their own. The NATS server is in this
// one, which is not measured.
package nats

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Messages   int `default:"200000" smoke:"2000" help:"Messages in the stream, each an order."`
	Items      int `default:"1" help:"Items of each order."`
	Partitions int `default:"4" help:"Partitions of the topic."`
	Rounds     int `default:"5" smoke:"1" help:"How often each contender consumes the stream; the table has medians."`
	Probes     int `default:"1000" smoke:"20" help:"Single orders that are timed through idle services."`

	site   *rig.Site
	server string // URL
	js     jetstream.JetStream
	orders *rig.Orders
	runs   int
}

const (
	stream  = "ORDERS"
	subject = "orders"
	bare    = "bare JetStream consumer"
	bridge  = "nats-bridge"
	// fetched is how many messages the bare consumer asks for at once.
	fetched = 2048
)

// consumerRole is the bare consumer of the server at an address.
var consumerRole = rig.NewRole("message consumer", consume)

func consume(server string) {
	ctx := context.Background()
	js, closeConn := connect(server)
	defer closeConn()
	consumer := must.Get(js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: "bare", FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10 * fetched,
	}))
	for left := consumer.CachedInfo().NumPending; left > 0; {
		batch := must.Get(consumer.Fetch(int(min(left, fetched))))
		for m := range batch.Messages() {
			must.Succeed(m.Ack())
			left--
		}
		must.Succeed(batch.Error())
	}
	untilEmpty(ctx, js)
}

func connect(server string) (js jetstream.JetStream, disconnect func()) {
	conn := must.Get(nats.Connect(server))
	return must.Get(jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(10*fetched))), conn.Close
}

// untilEmpty waits until every message is acknowledged: then the stream, a work
// queue, has none.
func untilEmpty(ctx context.Context, js jetstream.JetStream) {
	for must.Get(js.Stream(ctx, stream)).CachedInfo().State.Msgs > 0 {
		time.Sleep(time.Millisecond)
	}
}

// Measure makes the table.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	b.site = rig.OpenSite(ctx, flags, nil)
	defer b.site.Close()
	server := must.Get(natsserver.Start(natsserver.Options{DataDir: b.site.Folder + "/nats"}))
	defer server.Stop()
	b.server = server.URL()
	var disconnect func()
	b.js, disconnect = connect(b.server)
	defer disconnect()
	b.orders = b.site.Store(ctx, min(b.Messages, 10_000), b.Items, nil)
	samples := rig.Measure(ctx, b.Rounds, []rig.Contender[rig.Use]{{Name: bare, Run: b.consumeBare}, {Name: bridge, Run: b.forward}},
		func(u rig.Use) string { return fmt.Sprintf("%6.2f s", u.Seconds()) })
	rig.Progress("timing single orders through idle services")
	b.site.Save("nats", b.text(samples, b.idle(ctx)))
}

func (b *Benchmark) text(samples report.Samples[rig.Use], readable []time.Duration) string {
	title := fmt.Sprintf("A stream of %s orders of %d items, into a topic of %d partitions", report.Thousands(b.Messages), b.Items, b.Partitions)
	ms := report.Latencies(readable, 1)
	return samples.Table(title, []report.Column[rig.Use]{
		{Name: "seconds", Figure: rig.Use.Seconds, Format: report.Decimals(2)},
		{Name: "messages/s", Figure: rig.Use.Rate, Format: report.Thousands[float64]},
		{Name: "× bare", Figure: rig.Use.Rate, Format: report.Decimals(2), Ratio: true},
		{Name: "client µs/message", Figure: rig.Use.ClientCost, Format: report.Decimals(1)},
	}, bare, bridge) + fmt.Sprintf(`
- nats-bridge: %.2f × the bare consumer's speed (goal: at least 0.70)
- published → readable, idle, %d orders: p50 %s ms, p99 %s ms (goal: at most 30)
`, samples.Ratio(bridge, bare, rig.Use.Rate), len(readable), ms[0], ms[1])
}

// newRun makes the stream and a topic anew.
func (b *Benchmark) newRun(ctx context.Context) (topic string) {
	if b.runs++; b.runs > 1 {
		must.Succeed(b.js.DeleteStream(ctx, stream))
	}
	must.Get(b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: []string{subject}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
	}))
	topic = fmt.Sprintf("nats-%d", b.runs)
	b.site.Broker.CreateTopic(ctx, topic, b.Partitions, "delete")
	return topic
}

// fill fills a new stream. The broker is another one each time, since it keeps its
// records in memory.
func (b *Benchmark) fill(ctx context.Context) (topic string) {
	b.site.RenewBroker(ctx)
	topic = b.newRun(ctx)
	stamper := rig.NewStamper(b.orders, 1)
	for range b.Messages {
		_, value := stamper.Next()
		must.Get(b.js.PublishAsync(subject, value, jetstream.WithStallWait(time.Minute)))
	}
	<-b.js.PublishAsyncComplete()
	return topic
}

func (b *Benchmark) consumeBare(ctx context.Context) rig.Use {
	b.fill(ctx)
	u, _ := rig.RunProgram(consumerRole.Command(ctx, b.server), b.Messages)
	return u
}

func (b *Benchmark) startBridge(ctx context.Context, topic string) *rig.Service {
	return b.site.StartBridge(ctx, topic, "NATS_URL="+b.server, "NATS_STREAM="+stream, "NATS_SUBJECT="+subject)
}

func (b *Benchmark) forward(ctx context.Context) rig.Use {
	topic := b.fill(ctx)
	began := time.Now()
	service := b.startBridge(ctx, topic)
	defer service.Stop()
	untilEmpty(ctx, b.js)
	return rig.Use{Times: b.Messages, Took: time.Since(began), Client: must.Get(rig.UsageOf(service.Pid())).CPU}
}

// rest is between two requests for an order: results may be too large by that.
const rest = 250 * time.Microsecond

// idle times one order after another from its publication until the API has it.
func (b *Benchmark) idle(ctx context.Context) (readable []time.Duration) {
	topic := b.newRun(ctx)
	database, drop := b.site.Server.Fresh(ctx)
	defer drop()
	reader := b.site.StartReader(ctx, database)
	b.site.StartWorker(ctx, topic, database)
	b.startBridge(ctx, topic)
	stamper := rig.NewStamper(b.orders, 2)
	rig.Singly(ctx, b.Probes, func(_ int, counts bool) {
		uid, value := stamper.Next()
		began := time.Now()
		must.Get(b.js.Publish(ctx, subject, value))
		reader.Await(ctx, http.DefaultClient, uid, "", http.StatusNotFound, rest)
		if counts {
			readable = append(readable, time.Since(began))
		}
	})
	return readable
}
