package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/stanserver"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/app"
)

// publishStreaming publishes a load to NATS Streaming, in order.
func publishStreaming(t *testing.T, server *stanserver.Server, from, count, keys int) {
	t.Helper()
	var conn stan.Conn
	require.Eventually(t, func() bool {
		var err error
		conn, err = stan.Connect(stanserver.ClusterID, fmt.Sprintf("publisher-%d", from), stan.NatsURL(server.URL()))
		return err == nil
	}, deadline, 100*time.Millisecond)
	defer conn.Close()
	acks := make(chan error, count)
	for _, m := range load(from, count, keys) {
		_, err := conn.PublishAsync("orders", m.Data, func(_ string, err error) { acks <- err })
		require.NoError(t, err)
	}
	for range count {
		require.NoError(t, <-acks)
	}
}

func TestNATSStreaming(t *testing.T) {
	port, dir := lasting(t), t.TempDir()
	server := stanserver.StartForTest(t, port, dir)
	_, kafkaOptions := restartable(t)
	kafka, err := broker.Start(t.Context(), kafkaOptions)
	require.NoError(t, err)
	b := setupOn(t, nil, kafka)
	streaming := func(s *app.Settings) {
		s.Mode, s.NATS.URL, s.AckWait = "streaming", config.Secret(server.URL()), 2*time.Second
	}
	running := b.start(streaming)
	running.untilReady()
	publishStreaming(t, server, 0, 1000, 10)
	records := b.recordsUntil(ordersTopic, has(t, 1000))
	require.Equal(t, "orders", headers(records[0])["nats-stream"])

	// Kafka is away for longer than the AckWait, and the bridge stops meanwhile.
	require.NoError(t, kafka.Stop())
	publishStreaming(t, server, 1000, 500, 10)
	running.untilWaiting("kafka", "refused")
	require.Eventually(t, func() bool { return running.metric("orderhub_bridge_redeliveries_total") > 0 }, deadline, 50*time.Millisecond)
	running.stop()
	b.broker = broker.StartForTest(t, kafkaOptions)

	// The durable subscription goes on where it was.
	running = b.start(streaming)
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 1500))), 1500, 10)

	// The server is killed and comes back.
	server.Kill()
	running.untilWaiting("nats", "connect")
	server = stanserver.StartForTest(t, port, dir)
	running.untilReady()
	publishStreaming(t, server, 1500, 500, 10)
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 2000))), 2000, 10)

	// Nothing is left: a bridge with the same name is given nothing again.
	running.stop()
	running = b.start(streaming)
	running.untilReady()
	publishStreaming(t, server, 2000, 10, 10)
	b.recordsUntil(ordersTopic, has(t, 2010))
	require.EqualValues(t, 10, running.metric(`orderhub_bridge_messages_total{outcome="forwarded"}`))
}
