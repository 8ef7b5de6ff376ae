package integration

import (
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
)

func headers(r *kgo.Record) map[string]string {
	all := map[string]string{}
	for _, h := range r.Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

func TestAMessageBecomesARecord(t *testing.T) {
	b := setup(t)
	b.start().untilReady()
	m := message([]byte(` {"locale":{"a":[1]},"order_uid":"b563feb7b2b84b6test", broken`))
	m.Header = nats.Header{
		nats.MsgIdHdr: {"id-1"}, "X-Source": {"shop", "web"},
		"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	before := time.Now()
	b.publish(m)
	r := b.records(ordersTopic, 1)[0]
	require.Equal(t, string(m.Data), string(r.Value), "bytes are carried untouched")
	require.Equal(t, "b563feb7b2b84b6test", string(r.Key))
	got := headers(r)
	at, err := time.Parse(time.RFC3339Nano, got["nats-timestamp"])
	require.NoError(t, err)
	require.WithinDuration(t, before, at, time.Minute)
	delete(got, "nats-timestamp")
	require.Equal(t, map[string]string{
		"nats-msg-id": "id-1", "nats-x-source": "web", "traceparent": m.Header.Get("Traceparent"),
		"nats-subject": "orders", "nats-stream": "ORDERS", "nats-sequence": "1",
	}, got)
	b.untilAcknowledged()
}

func TestKeyOfAMessageWithoutUID(t *testing.T) {
	b := setup(t)
	b.start().untilReady()
	for _, data := range []string{"no JSON", `[{"order_uid":"a"}]`, `{"order_uid":17}`, `{"a":{"order_uid":"a"}}`, ""} {
		m := message([]byte(data))
		m.Header = nats.Header{nats.MsgIdHdr: {"id of " + data}}
		b.publish(m, message([]byte(data)))
	}
	withID := 0
	for _, r := range b.records(ordersTopic, 10) {
		if id := headers(r)["nats-msg-id"]; id != "" {
			require.Equal(t, id, string(r.Key))
			withID++
		} else {
			require.Nil(t, r.Key)
		}
	}
	require.Equal(t, 5, withID)
}

func TestMessagesOfAKeyKeepTheirOrder(t *testing.T) {
	b := setup(t)
	running := b.start()
	running.untilReady()
	b.publish(load(0, 10_000, 50)...)
	records := b.records(ordersTopic, 10_000)
	require.Len(t, records, 10_000, "nothing twice")
	requireInOrder(t, versions(t, records), 10_000, 50)
	b.untilAcknowledged()
	stream, err := b.js.Stream(b.ctx, "ORDERS")
	require.NoError(t, err)
	require.Zero(t, stream.CachedInfo().State.Msgs, "the stream keeps nothing that is acknowledged")
	require.EqualValues(t, 10_000, running.metric(`orderhub_bridge_messages_total{outcome="forwarded"}`))
	require.EqualValues(t, 10_000, running.metric("orderhub_bridge_forward_seconds_count"))
}

func TestAMessageThatIsTooLargeBecomesADeadLetter(t *testing.T) {
	server := natsserver.StartForTest(t, natsserver.Options{Set: func(o *server.Options) { o.MaxPayload = 16 << 20 }})
	options := brokerOptions()
	b := setupOn(t, server, broker.StartForTest(t, options))
	running := b.start()
	running.untilReady()
	noise := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{}).Read(noise) // does not compress
	large := message([]byte(`{"order_uid":"large","x":"` + hex.EncodeToString(noise) + `"}`))
	b.publish(message(order("small", 1)), large, message(order("large", 2)), message(order("small", 2)))

	require.Len(t, b.records(ordersTopic, 3), 3)
	record := b.records(dlqTopic, 1)[0]
	l := letter.Parse(record)
	require.Regexp(t, `^nats/ORDERS/2/[0-9a-f]{8}$`, l.ID)
	require.Equal(t, "too_large", l.Reason)
	require.Equal(t, "large", string(l.SourceKey))
	require.Equal(t, "nats/ORDERS", l.Source.Topic)
	require.EqualValues(t, 2, l.Source.Offset)
	require.NotNil(t, l.Truncated)
	require.EqualValues(t, len(large.Data), l.Truncated.Size)
	require.Equal(t, string(large.Data[:len(l.Value)]), string(l.Value))
	b.untilAcknowledged()
	require.EqualValues(t, 1, running.metric(`orderhub_dead_letters_total{reason="too_large"}`))
}
