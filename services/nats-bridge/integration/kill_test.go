package integration

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/app"
)

// Killed at any moment, the bridge loses nothing and keeps the order of each key.
func TestTheBridgeIsKilledUnderLoad(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "nats-bridge")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/nats-bridge").CombinedOutput()
	require.NoError(t, err, "%s", output)
	b := setup(t)
	first := b.start()
	first.untilReady()
	first.stop()
	environment := append(os.Environ(), "NATS_URL="+b.nats.URL(), "KAFKA_BROKERS="+b.broker.Addr(), "ADMIN_ADDR=127.0.0.1:0")

	const count, keys, kills = 20_000, 20, 5
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	inKafka := func() (total int64) {
		ends, err := admin.ListEndOffsets(b.ctx, ordersTopic)
		require.NoError(t, err)
		ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
		return total
	}
	for kill := range kills + 1 {
		cmd := exec.Command(binary)
		cmd.Env = environment
		bridge, err := process.Start(cmd, syscall.SIGKILL)
		require.NoError(t, err)
		published := make(chan struct{})
		go func() {
			defer close(published)
			if kill < kills {
				b.publish(load(kill*count/kills, count/kills, keys)...)
			}
		}()
		if kill == kills {
			defer func() { _ = bridge.Signal(syscall.SIGKILL); <-bridge.Done() }()
			break
		}
		before := inKafka()
		require.Eventually(t, func() bool { return inKafka() > before+100 }, deadline, time.Millisecond)
		require.NoError(t, bridge.Signal(syscall.SIGKILL))
		<-bridge.Done()
		<-published
	}
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, count))), count, keys)
	b.untilAcknowledged() // the killed bridges' deliveries too, after the AckWait
}

// cluster is three NATS servers that replicate.
func cluster(t *testing.T) []*natsserver.Server {
	t.Helper()
	clusterPorts, routes := make([]int, 3), make([]*url.URL, 3)
	for i := range clusterPorts {
		clusterPorts[i] = lasting(t)
		routes[i] = &url.URL{Scheme: "nats", Host: ports.Loopback(clusterPorts[i])}
	}
	servers := make([]*natsserver.Server, 3)
	for i := range servers {
		servers[i] = natsserver.StartForTest(t, natsserver.Options{Port: lasting(t), Set: func(o *server.Options) {
			o.ServerName = fmt.Sprintf("n%d", i)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: clusterPorts[i]}
			o.Routes = routes
		}})
	}
	return servers
}

func TestAClusterLosesItsLeaderUnderLoad(t *testing.T) {
	servers := cluster(t)
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = s.URL()
	}
	b := setupOn(t, servers[0], broker.StartForTest(t, brokerOptions()))
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
		defer cancel()
		_, err := b.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: "ORDERS", Subjects: []string{"orders"}, Replicas: 3, Retention: jetstream.WorkQueuePolicy,
		})
		return err == nil
	}, deadline, 100*time.Millisecond)
	running := b.start(func(s *app.Settings) { s.NATS.URL = config.Secret(strings.Join(urls, ",")) })
	running.untilReady()
	b.publish(load(0, 2000, 10)...)
	consumer, err := b.js.Consumer(b.ctx, "ORDERS", "orderhub")
	require.NoError(t, err)
	leader := consumer.CachedInfo().Cluster.Leader
	for i, s := range servers {
		if leader == fmt.Sprintf("n%d", i) {
			s.Stop()
			if i == 0 { // the test's own server
				b.nats = servers[1]
				b.connect()
			}
		}
	}
	for i := range 20 {
		// In small parts: the stream may be without a leader for a moment, and a retry
		// must not overtake.
		for _, m := range load(2000+i*100, 100, 10) {
			require.Eventually(t, func() bool { _, err := b.js.PublishMsg(b.ctx, m); return err == nil }, deadline, 50*time.Millisecond)
		}
	}
	requireInOrder(t, versions(t, b.recordsUntil(ordersTopic, has(t, 4000))), 4000, 10)
	b.untilAcknowledged()
	running.untilReady()
}
