package integration

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/app"
)

// restartable servers keep their port and their data.
func restartable(t *testing.T) (natsserver.Options, broker.Options) {
	t.Helper()
	server := natsserver.Options{DataDir: t.TempDir(), Port: lasting(t)}
	kafka := brokerOptions()
	kafka.DataDir, kafka.Port = t.TempDir(), lasting(t)
	return server, kafka
}

func lasting(t *testing.T) int {
	t.Helper()
	port, err := ports.Free()
	require.NoError(t, err)
	return port
}

func TestBothServersAreAwayAtTheStartAndLater(t *testing.T) {
	natsOptions, kafkaOptions := restartable(t)
	server, err := natsserver.Start(natsOptions)
	require.NoError(t, err)
	kafka, err := broker.Start(t.Context(), kafkaOptions)
	require.NoError(t, err)
	b := setupOn(t, server, kafka)
	server.Stop()
	require.NoError(t, kafka.Stop())

	running := b.start()
	running.untilWaiting("nats", "not connected")
	running.untilWaiting("kafka", "refused")
	require.EqualValues(t, 1, running.metric(`orderhub_bridge_waiting{for="nats"}`))
	require.Positive(t, running.metric(`orderhub_bridge_retries_total{for="nats"}`))

	b.nats, err = natsserver.Start(natsOptions)
	require.NoError(t, err)
	b.broker = broker.StartForTest(t, kafkaOptions)
	running.untilReady()
	b.publish(load(0, 1000, 10)...)
	b.recordsUntil(ordersTopic, has(t, 1000))

	b.nats.Stop()
	running.untilWaiting("nats", "not connected")
	b.nats = natsserver.StartForTest(t, natsOptions)
	running.untilReady()
	require.Positive(t, running.metric("orderhub_bridge_nats_reconnects_total"))
	require.Positive(t, running.metric(`orderhub_bridge_waited_seconds_total{for="nats"}`))
	require.Positive(t, running.metric(`orderhub_bridge_waited_seconds_total{for="kafka"}`))
	require.Eventually(t, b.conn.IsConnected, deadline, 10*time.Millisecond)
	b.publish(load(1000, 1000, 10)...)
	records := b.recordsUntil(ordersTopic, has(t, 2000))
	requireInOrder(t, versions(t, records), 2000, 10)
	b.untilAcknowledged()
}

func TestKafkaIsAwayForLongerThanTheAckWait(t *testing.T) {
	_, kafkaOptions := restartable(t)
	kafka, err := broker.Start(t.Context(), kafkaOptions)
	require.NoError(t, err)
	b := setupOn(t, natsserver.StartForTest(t, natsserver.Options{}), kafka)
	running := b.start(func(s *app.Settings) { s.AckWait, s.MaxMessages = time.Second, 100 })
	running.untilReady()
	require.NoError(t, kafka.Stop())
	b.publish(load(0, 1000, 10)...)
	running.untilWaiting("kafka", "refused")
	require.LessOrEqual(t, running.metric("orderhub_bridge_in_flight_messages"), 100.0)
	kafka = broker.StartForTest(t, kafkaOptions)
	b.broker = kafka
	records := b.recordsUntil(ordersTopic, has(t, 1000))
	require.Len(t, records, 1000, "nothing twice")
	requireInOrder(t, versions(t, records), 1000, 10)
	b.untilAcknowledged()
	running.untilReady()
}

// A broker that takes longer than the server waits for an acknowledgement gets each
// message once: the server is told that the messages are in progress.
func TestSlowKafkaCausesNoRedeliveries(t *testing.T) {
	b := setup(t)
	running := b.start(func(s *app.Settings) { s.AckWait = 3 * time.Second })
	running.untilReady()
	slow := make(chan struct{})
	b.broker.Cluster().ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster().KeepControl()
		b.broker.Cluster().SleepControl(func() { <-slow })
		return nil, nil, false
	})
	time.AfterFunc(7*time.Second, func() { close(slow) }) // twice the AckWait, and more
	b.publish(load(0, 2000, 100)...)
	records := b.recordsUntil(ordersTopic, has(t, 2000))
	require.Len(t, records, 2000)
	b.untilAcknowledged()
	require.Zero(t, running.metric("orderhub_bridge_redeliveries_total"))
}

// What is in flight when the bridge stops while Kafka is away is given back, and
// read again by the next bridge, in order.
func TestStopWhileKafkaIsAway(t *testing.T) {
	_, kafkaOptions := restartable(t)
	kafka, err := broker.Start(t.Context(), kafkaOptions)
	require.NoError(t, err)
	b := setupOn(t, natsserver.StartForTest(t, natsserver.Options{}), kafka)
	running := b.start()
	running.untilReady()
	require.NoError(t, kafka.Stop())
	b.publish(load(0, 500, 10)...)
	require.Eventually(t, func() bool { return running.metric("orderhub_bridge_in_flight_messages") == 500 }, deadline, 10*time.Millisecond)
	running.stop()
	b.broker = broker.StartForTest(t, kafkaOptions)
	b.start()
	b.publish(load(500, 500, 10)...)
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 1000))), 1000, 10)
	b.untilAcknowledged()
}

// Messages that a bridge has taken before it was killed are forwarded before newer
// ones, without waiting for their redelivery.
func TestMessagesOfAKilledBridgeComeFirst(t *testing.T) {
	b := setup(t)
	first := b.start()
	first.untilReady() // stream and consumer are there
	first.stop()
	b.publish(load(0, 20, 2)...)
	consumer, err := b.js.Consumer(b.ctx, "ORDERS", "orderhub")
	require.NoError(t, err)
	batch, err := consumer.Fetch(10, jetstream.FetchMaxWait(time.Second))
	require.NoError(t, err)
	taken := 0
	for range batch.Messages() {
		taken++ // and not acknowledged
	}
	require.Equal(t, 10, taken)
	began := time.Now()
	running := b.start()
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 20))), 20, 2)
	require.Less(t, time.Since(began), 10*time.Second)
	require.EqualValues(t, 10, running.metric("orderhub_bridge_read_again_total"))
}

func TestTheConsumerIsDeletedUnderLoad(t *testing.T) {
	b := setup(t)
	running := b.start()
	running.untilReady()
	for i := range 4 {
		b.publish(load(i*1000, 1000, 10)...)
		require.Eventually(t, func() bool { return b.js.DeleteConsumer(b.ctx, "ORDERS", "orderhub") == nil }, deadline, 10*time.Millisecond)
	}
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 4000))), 4000, 10)
	b.untilAcknowledged()
}

// A stream with limits keeps what is acknowledged: a consumer that is created anew
// begins where the bridge stands.
func TestAConsumerCreatedAnewDoesNotRepeatTheStream(t *testing.T) {
	b := setup(t)
	_, err := b.js.CreateStream(b.ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}})
	require.NoError(t, err)
	running := b.start()
	running.untilReady()
	b.publish(load(0, 1000, 10)...)
	b.records(ordersTopic, 1000)
	b.untilAcknowledged()
	require.NoError(t, b.js.DeleteConsumer(b.ctx, "ORDERS", "orderhub"))
	b.publish(load(1000, 10, 10)...)
	require.Len(t, b.recordsUntil(ordersTopic, has(t, 1010)), 1010)
}

func TestTheStreamIsDeletedAndCreatedAnew(t *testing.T) {
	b := setup(t)
	running := b.start()
	running.untilReady()
	b.publish(load(0, 100, 10)...)
	b.records(ordersTopic, 100)
	require.NoError(t, b.js.DeleteStream(b.ctx, "ORDERS"))
	require.Eventually(t, func() bool { _, err := b.js.Stream(b.ctx, "ORDERS"); return err == nil }, deadline, 10*time.Millisecond)
	b.publish(load(100, 50, 10)...) // the sequences are 1 to 50 again
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 150))), 150, 10)
	b.untilAcknowledged()
}

func TestSettingsOfSomebodyElsesAreSetRight(t *testing.T) {
	b := setup(t)
	stream, err := b.js.CreateStream(b.ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}})
	require.NoError(t, err)
	theirs := jetstream.ConsumerConfig{
		Durable: "orderhub", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "orders", MaxDeliver: 2,
		MaxAckPending: 1, AckWait: 500 * time.Millisecond, BackOff: []time.Duration{100 * time.Millisecond},
		InactiveThreshold: time.Hour, MaxRequestBatch: 1,
	}
	consumer, err := stream.CreateConsumer(b.ctx, theirs)
	require.NoError(t, err)
	right := func() bool {
		info, err := consumer.Info(b.ctx)
		require.NoError(t, err)
		c := info.Config
		return c.MaxDeliver == -1 && c.MaxAckPending >= 4096 && c.AckWait == 30*time.Second && len(c.BackOff) == 0 &&
			c.InactiveThreshold == 0 && c.MaxRequestBatch == 0
	}
	running := b.start()
	running.untilReady()
	require.True(t, right())
	_, err = stream.UpdateConsumer(b.ctx, theirs)
	require.NoError(t, err)
	require.Eventually(t, right, deadline, 50*time.Millisecond, "while the bridge runs")
	b.publish(load(0, 100, 1)...)
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 100))), 100, 1)
}

func TestAConsumerThatCouldLoseMessagesIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*jetstream.ConsumerConfig)
		why    string
	}{
		"no acknowledgements": {func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckNonePolicy }, "ack_policy"},
		"other subject":       {func(c *jetstream.ConsumerConfig) { c.FilterSubject = "orders.eu" }, "NATS_SUBJECT"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			stream, err := b.js.CreateStream(b.ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders", "orders.eu"}})
			require.NoError(t, err)
			cfg := jetstream.ConsumerConfig{Durable: "orderhub", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "orders"}
			c.change(&cfg)
			_, err = stream.CreateConsumer(b.ctx, cfg)
			require.NoError(t, err)
			b.start().untilWaiting("nats", c.why)
		})
	}
}

// A stream that drops the oldest messages is reported, and so is what it dropped.
func TestLimitsOfTheStreamThatLoseMessages(t *testing.T) {
	_, kafkaOptions := restartable(t)
	kafka, err := broker.Start(t.Context(), kafkaOptions)
	require.NoError(t, err)
	b := setupOn(t, natsserver.StartForTest(t, natsserver.Options{}), kafka)
	_, err = b.js.CreateStream(b.ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}, MaxMsgs: 100, Discard: jetstream.DiscardOld})
	require.NoError(t, err)
	running := b.start(func(s *app.Settings) { s.MaxMessages = 10 })
	running.untilReady()
	require.NoError(t, kafka.Stop())
	b.publish(load(0, 10, 10)...)
	require.Eventually(t, func() bool { return running.metric("orderhub_bridge_in_flight_messages") == 10 }, deadline, 10*time.Millisecond)
	b.publish(load(10, 990, 10)...) // the stream keeps 100 of them
	require.Eventually(t, func() bool { return running.metric("orderhub_bridge_lost_messages_total") == 890 }, deadline, 50*time.Millisecond)
	b.broker = broker.StartForTest(t, kafkaOptions)
	require.Len(t, b.recordsUntil(ordersTopic, has(t, 110)), 110)
}

// A stream that refuses what is too much loses nothing; its publishers see it.
func TestAFullStreamRefusesMessages(t *testing.T) {
	_, kafkaOptions := restartable(t)
	kafka, err := broker.Start(t.Context(), kafkaOptions)
	require.NoError(t, err)
	b := setupOn(t, natsserver.StartForTest(t, natsserver.Options{}), kafka)
	_, err = b.js.CreateStream(b.ctx, jetstream.StreamConfig{
		Name: "ORDERS", Subjects: []string{"orders"}, MaxMsgs: 100, Discard: jetstream.DiscardNew, Retention: jetstream.WorkQueuePolicy,
	})
	require.NoError(t, err)
	running := b.start()
	running.untilReady()
	require.NoError(t, kafka.Stop())
	b.publish(load(0, 100, 10)...)
	_, err = b.js.PublishMsg(b.ctx, load(100, 1, 10)[0])
	require.ErrorContains(t, err, "maximum messages exceeded")
	b.broker = broker.StartForTest(t, kafkaOptions)
	b.recordsUntil(ordersTopic, has(t, 100))
	b.untilAcknowledged()
	b.publish(load(100, 100, 10)...)
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 200))), 200, 10)
	require.Zero(t, running.metric("orderhub_bridge_lost_messages_total"))
}
