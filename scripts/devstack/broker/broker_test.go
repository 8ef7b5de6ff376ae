package broker_test

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/datadir"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

func client(t *testing.T, addr string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(options, kgo.SeedBrokers(addr))...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestRoundTrip(t *testing.T) {
	b := broker.ForTest(t, "orders")
	ctx := context.Background()
	producer := client(t, b.Addr())
	require.NoError(t, producer.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("one")}).FirstErr())
	consumer := client(t, b.Addr(), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	fetches := consumer.PollFetches(ctx)
	require.NoError(t, fetches.Err())
	require.Equal(t, "one", string(fetches.Records()[0].Value))
}

// TestOtherMachinesReachABrokerWithAHost calls it by one of this machine's addresses,
// and follows the address that the broker tells.
func TestOtherMachinesReachABrokerWithAHost(t *testing.T) {
	host := ports.Outward()
	if host == "" {
		t.Skip("this machine has no address but the loopback")
	}
	port, err := ports.Free()
	require.NoError(t, err)
	b := broker.StartForTest(t, broker.Options{Host: host, Port: port, Topics: map[string]broker.Topic{"orders": {}}})
	require.Equal(t, net.JoinHostPort(host, strconv.Itoa(port)), b.Addr())
	for _, seed := range []string{b.Addr(), ports.Loopback(port)} {
		c := client(t, seed)
		require.NoError(t, c.ProduceSync(context.Background(), &kgo.Record{Topic: "orders", Value: []byte("one")}).FirstErr())
		brokers, err := kadm.NewClient(c).ListBrokers(context.Background())
		require.NoError(t, err)
		require.Equal(t, host, brokers[0].Host)
	}
}

func TestDataIsKeptOverAStop(t *testing.T) {
	kept := options(t.TempDir())
	b, err := broker.Start(context.Background(), kept)
	require.NoError(t, err)
	fill(t, b.Addr())
	require.NoError(t, b.Stop())
	requireFilled(t, broker.StartForTest(t, kept).Addr())
}

// fill produces two records and commits the offset of the first.
func fill(t *testing.T, addr string) {
	t.Helper()
	ctx := context.Background()
	c := client(t, addr, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, value := range []string{"first", "second"} {
		record := &kgo.Record{Topic: "orders", Partition: 1, Value: []byte(value)}
		require.NoError(t, c.ProduceSync(ctx, record).FirstErr())
	}
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "orders", Partition: 1, At: 1})
	_, err := kadm.NewClient(c).CommitOffsets(ctx, "group", offsets)
	require.NoError(t, err)
}

func requireFilled(t *testing.T, addr string) {
	t.Helper()
	ctx := context.Background()
	admin := kadm.NewClient(client(t, addr))
	ends, err := admin.ListEndOffsets(ctx, "orders")
	require.NoError(t, err)
	end, _ := ends.Lookup("orders", 1)
	require.EqualValues(t, 2, end.Offset)
	require.Len(t, ends["orders"], 3)
	committed, err := admin.FetchOffsets(ctx, "group")
	require.NoError(t, err)
	at, ok := committed.Lookup("orders", 1)
	require.True(t, ok)
	require.EqualValues(t, 1, at.At)
}

func TestTopicSettings(t *testing.T) {
	b := broker.StartForTest(t, broker.Options{Topics: map[string]broker.Topic{
		"small": {Partitions: 1, Configs: map[string]string{"max.message.bytes": "1000"}},
	}})
	producer := client(t, b.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	err := producer.ProduceSync(context.Background(), &kgo.Record{Topic: "small", Value: make([]byte, 2000)}).FirstErr()
	require.ErrorIs(t, err, kerr.MessageTooLarge)
}

func TestTakenPortAndFolderAreRefused(t *testing.T) {
	dir := t.TempDir()
	b := broker.StartForTest(t, broker.Options{DataDir: dir})
	_, err := broker.Start(context.Background(), broker.Options{DataDir: dir})
	var inUse *datadir.InUseError
	require.ErrorAs(t, err, &inUse)

	address, err := net.ResolveTCPAddr("tcp", b.Addr())
	require.NoError(t, err)
	_, err = broker.Start(context.Background(), broker.Options{Port: address.Port})
	var taken *ports.TakenError
	require.ErrorAs(t, err, &taken)
}
