package integration

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/audit/kafkasink"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

func TestTheAuditLogInATopic(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Stop()) })
	const key, topic = "0123456789abcdef", "audit"
	s := audit.Settings{To: audit.ToKafka, Topic: topic, Key: key}
	options := audit.Options{Program: "test", Kafka: kafkasink.New(config.KafkaConn{Brokers: []string{b.Addr()}}, zap.NewNop())}
	look := audit.Event{Action: "look", Actor: "ann", Targets: []string{"a"}, Allowed: true}
	for range 2 {
		l, err := audit.Open(s, options)
		require.NoError(t, err)
		require.NoError(t, l.Write(t.Context(), look))
		require.NoError(t, l.Close())
	}

	// What the brokers refuse is the writer's error, and the chain after it is another.
	l, err := audit.Open(s, options)
	require.NoError(t, err)
	b.Cluster().ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		answer := request.ResponseKind().(*kmsg.ProduceResponse)
		for _, asked := range request.(*kmsg.ProduceRequest).Topics {
			refused := kmsg.NewProduceResponseTopic()
			refused.Topic, refused.TopicID = asked.Topic, asked.TopicID
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.ErrorCode = kerr.TopicAuthorizationFailed.Code
			refused.Partitions = append(refused.Partitions, partition)
			answer.Topics = append(answer.Topics, refused)
		}
		return answer, nil, true
	})
	require.ErrorIs(t, l.Write(t.Context(), look), kerr.TopicAuthorizationFailed)
	require.NoError(t, l.Write(t.Context(), look))
	require.NoError(t, l.Close())

	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.ConsumeTopics(topic))
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var lines bytes.Buffer
	keys := map[string]int{}
	for n := 0; n < 6+1+3; {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			lines.Write(append(r.Value, '\n'))
			keys[string(r.Key)]++
			n++
		})
	}
	report, err := audit.Verify([]byte(key), &lines)
	require.NoError(t, err)
	require.True(t, report.OK(), "%v", report.Problems)
	require.Equal(t, 4, report.Chains)
	require.Len(t, report.Unclosed, 1)
	require.Len(t, keys, 4, "the key is the chain")
	require.Equal(t, 1, keys[report.Unclosed[0].Chain])
}

func TestAnAuditTopicThatWouldLoseRecordsIsWarnedAbout(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Topics: map[string]broker.Topic{"audit": {Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact"}}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Stop()) })
	core, logs := observer.New(zap.WarnLevel)
	sink, err := kafkasink.New(config.KafkaConn{Brokers: []string{b.Addr()}}, zap.New(core))("audit")
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	warnings := logs.FilterMessageSnippet("may lose records").All()
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].ContextMap()["problem"], "cleanup.policy has compact")

	_, err = kafkasink.New(config.KafkaConn{Brokers: []string{"127.0.0.1:1"}}, zap.NewNop())("audit")
	require.ErrorContains(t, err, "ORDERHUB_AUDIT=kafka")
}
