// Package integration tests the bridge with real NATS servers and a broker that
// speaks Kafka's protocol.
package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/fx"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/services/nats-bridge/internal/app"
)

func TestMain(m *testing.M) {
	if os.Getenv("LOG_LEVEL") == "" {
		_ = os.Setenv("LOG_LEVEL", "error")
	}
	goleak.VerifyTestMain(m)
}

const (
	ordersTopic = "orders"
	dlqTopic    = "orders.dlq"
	// deadline bounds every wait; nothing is expected to take long.
	deadline = 60 * time.Second
)

// bundle is a NATS server and a broker for one test.
type bundle struct {
	t      *testing.T
	ctx    context.Context
	nats   *natsserver.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	broker *broker.Broker
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return setupOn(t, natsserver.StartForTest(t, natsserver.Options{}),
		broker.StartForTest(t, brokerOptions()))
}

func brokerOptions() broker.Options {
	return broker.Options{Topics: map[string]broker.Topic{
		ordersTopic: {Partitions: 3}, dlqTopic: {Configs: map[string]string{"max.message.bytes": "8388608"}},
	}}
}

func setupOn(t *testing.T, server *natsserver.Server, kafka *broker.Broker) *bundle {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*deadline)
	t.Cleanup(cancel)
	b := &bundle{t: t, ctx: ctx, nats: server, broker: kafka}
	if server != nil {
		b.connect()
	}
	return b
}

func (b *bundle) connect() {
	b.t.Helper()
	conn, err := natsconn.Connect(natsconn.Settings{URL: config.Secret(b.nats.URL())}, "test")
	require.NoError(b.t, err)
	b.t.Cleanup(conn.Close)
	b.conn = conn
	b.js, err = jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(10_000))
	require.NoError(b.t, err)
}

func (b *bundle) settings() *app.Settings {
	b.t.Helper()
	b.t.Chdir(b.t.TempDir())
	s := &app.Settings{}
	require.NoError(b.t, config.Load(s))
	if b.nats != nil {
		s.NATS.URL = config.Secret(b.nats.URL())
	}
	s.Kafka.Brokers = []string{b.broker.Addr()}
	s.AdminAddr = "127.0.0.1:0"
	s.StopTimeout = 4 * time.Second
	return s
}

// bridge is a running bridge.
type bridge struct {
	t     *testing.T
	admin *admin.Server
	stop  func()
}

// start runs a bridge until the end of the test, or until its stop is called.
func (b *bundle) start(change ...func(*app.Settings)) *bridge {
	b.t.Helper()
	settings := b.settings()
	for _, c := range change {
		c(settings)
	}
	running := &bridge{t: b.t}
	fxApp := fx.New(app.Options(settings), fx.Populate(&running.admin))
	require.NoError(b.t, fxApp.Start(b.ctx))
	var once sync.Once
	running.stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			require.NoError(b.t, fxApp.Stop(ctx))
		})
	}
	b.t.Cleanup(running.stop)
	return running
}

func (r *bridge) get(path string) (int, string) {
	r.t.Helper()
	response, err := http.Get("http://" + r.admin.Addr() + path)
	require.NoError(r.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	return response.StatusCode, string(body)
}

// untilReady waits until /readyz says so.
func (r *bridge) untilReady() {
	r.t.Helper()
	require.Eventually(r.t, func() bool { code, _ := r.get("/readyz"); return code == http.StatusOK }, deadline, 20*time.Millisecond)
}

// untilWaiting waits until /readyz names what is away, and why.
func (r *bridge) untilWaiting(away, why string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		_, body := r.get("/readyz")
		var answer struct {
			Components []struct {
				Name, Detail string
				Ready        bool
			}
		}
		require.NoError(r.t, json.Unmarshal([]byte(body), &answer))
		for _, c := range answer.Components {
			if c.Name == away && !c.Ready && strings.Contains(c.Detail, why) {
				return true
			}
		}
		return false
	}, deadline, 20*time.Millisecond)
}

// metric is a sample's value; 0 for one that is not there.
func (r *bridge) metric(name string) (value float64) {
	r.t.Helper()
	_, body := r.get("/metrics")
	for line := range strings.SplitSeq(body, "\n") {
		if rest, found := strings.CutPrefix(line, name+" "); found {
			_, err := fmt.Sscan(rest, &value)
			require.NoError(r.t, err)
		}
	}
	return value
}

// order is an order's JSON, as far as the bridge looks at it.
func order(uid string, version int) []byte {
	return fmt.Appendf(nil, `{"order_uid":%q,"version":%d}`, uid, version)
}

// publish publishes messages to the stream and waits until they are stored.
func (b *bundle) publish(messages ...*nats.Msg) {
	b.t.Helper()
	futures := make([]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		future, err := b.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(10), jetstream.WithStallWait(deadline))
		require.NoError(b.t, err)
		futures[i] = future
	}
	for _, future := range futures {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			require.NoError(b.t, err)
		case <-b.ctx.Done():
			require.NoError(b.t, b.ctx.Err())
		}
	}
}

func message(data []byte) *nats.Msg { return &nats.Msg{Subject: "orders", Data: data} }

// records reads a topic until it has so many records.
func (b *bundle) records(topic string, count int) []*kgo.Record {
	b.t.Helper()
	return b.recordsUntil(topic, func(records []*kgo.Record) bool { return len(records) >= count })
}

func (b *bundle) recordsUntil(topic string, done func([]*kgo.Record) bool) (records []*kgo.Record) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addr()), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(b.t, err)
	defer client.Close()
	for !done(records) {
		fetches := client.PollFetches(b.ctx)
		require.NoError(b.t, fetches.Err(), "%d records so far", len(records))
		records = append(records, fetches.Records()...)
	}
	return records
}

// versions are the orders of all keys as their partitions have them, repeats left
// out, which are harmless.
func versions(t *testing.T, records []*kgo.Record) map[string][]int {
	t.Helper()
	byKey, seen := map[string][]int{}, map[string]bool{}
	for _, r := range records {
		var order struct {
			UID     string `json:"order_uid"`
			Version int    `json:"version"`
		}
		require.NoError(t, json.NewDecoder(bytes.NewReader(r.Value)).Decode(&order))
		require.Equal(t, order.UID, string(r.Key))
		if !seen[string(r.Value)] {
			seen[string(r.Value)] = true
			byKey[order.UID] = append(byKey[order.UID], order.Version)
		}
	}
	return byKey
}

// load publishes count messages, of so many keys, as versions 1, 2, 3 … of each.
func load(from, count, keys int) []*nats.Msg {
	messages := make([]*nats.Msg, count)
	for i := range messages {
		n := from + i
		messages[i] = message(order(fmt.Sprintf("key-%d", n%keys), n/keys+1))
	}
	return messages
}

// requireInOrder requires of a load that each message is there, each key's in order.
func requireInOrder(t *testing.T, byKey map[string][]int, count, keys int) {
	t.Helper()
	require.Len(t, byKey, min(keys, count))
	for k := range min(keys, count) {
		got := byKey[fmt.Sprintf("key-%d", k)]
		require.Len(t, got, (count-k+keys-1)/keys, "key-%d", k)
		for i, version := range got {
			require.Equal(t, i+1, version, "key-%d: %v", k, got)
		}
	}
}

// has says whether all messages of a load are there.
func has(t *testing.T, count int) func([]*kgo.Record) bool {
	t.Helper()
	return func(records []*kgo.Record) bool {
		if len(records) < count {
			return false
		}
		total := 0
		for _, v := range versions(t, records) {
			total += len(v)
		}
		return total == count
	}
}

// untilAcknowledged waits until the consumer has nothing left.
func (b *bundle) untilAcknowledged() {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		consumer, err := b.js.Consumer(b.ctx, "ORDERS", "orderhub")
		if err != nil {
			return false
		}
		info := consumer.CachedInfo()
		return info.NumPending == 0 && info.NumAckPending == 0 && info.Delivered.Stream > 0
	}, deadline, 20*time.Millisecond)
}
