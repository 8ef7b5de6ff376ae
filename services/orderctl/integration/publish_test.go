package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
)

// newOrders is a broker with a topic of orders only.
func newOrders(t *testing.T, partitions int32, maxMessageBytes int) *world {
	t.Helper()
	topic := broker.Topic{Partitions: partitions}
	if maxMessageBytes > 0 {
		topic.Configs = map[string]string{"max.message.bytes": strconv.Itoa(maxMessageBytes)}
	}
	b := broker.StartForTest(t, broker.Options{Topics: map[string]broker.Topic{orders: topic}})
	return &world{t: t, broker: b, client: newClient(t, b)}
}

// log gives the records of a topic's partition.
func (w *world) log(partition int32) []*kgo.Record { return w.read(orders)[partition] }

// onProduce asks answer at each request to produce: an error of Kafka is the
// broker's answer, nil lets the request through.
func (w *world) onProduce(answer func() *kerr.Error) {
	cluster := w.broker.Cluster()
	cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		refused := answer()
		if refused == nil {
			return nil, nil, false
		}
		response := refusal(request).(*kmsg.ProduceResponse)
		for i := range response.Topics {
			for j := range response.Topics[i].Partitions {
				response.Topics[i].Partitions[j].ErrorCode = refused.Code
			}
		}
		return response, nil, true
	})
}

// account notes what a Publisher reports.
type account struct {
	acks    []publish.Ack
	refused []publish.Record
	retries int
	onAck   func() error
}

func (a *account) options() publish.Options {
	return publish.Options{
		Acked: func(acks []publish.Ack) error {
			a.acks = append(a.acks, acks...)
			if a.onAck != nil {
				return a.onAck()
			}
			return nil
		},
		Refused:  func(r publish.Record, _ error) { a.refused = append(a.refused, r) },
		Retrying: func(error) { a.retries++ },
	}
}

// numbered gives records whose keys repeat and whose values count up.
func numbered(count, keys int) func() (publish.Record, error) {
	i := 0
	return func() (publish.Record, error) {
		if i == count {
			return publish.Record{}, io.EOF
		}
		i++
		return publish.Record{Key: fmt.Appendf(nil, "key%d", i%keys), Value: fmt.Appendf(nil, "%08d", i), Info: i}, nil
	}
}

func list(records []publish.Record) func() (publish.Record, error) {
	return func() (publish.Record, error) {
		if len(records) == 0 {
			return publish.Record{}, io.EOF
		}
		r := records[0]
		records = records[1:]
		return r, nil
	}
}

func (w *world) publish(ctx context.Context, opts publish.Options, next func() (publish.Record, error)) error {
	w.t.Helper()
	return w.publishFor(ctx, time.Minute, opts, next)
}

func (w *world) publishFor(ctx context.Context, giveUpAfter time.Duration, opts publish.Options, next func() (publish.Record, error)) error {
	w.t.Helper()
	kafka, err := publish.Kafka(w.t.Context(), []kgo.Opt{kgo.SeedBrokers(w.broker.Addr())}, orders, giveUpAfter)
	require.NoError(w.t, err)
	defer kafka.Close()
	return publish.New(kafka, opts).Run(ctx, next)
}

func TestRecordsArriveInTheOrderOfTheirKeys(t *testing.T) {
	w := newOrders(t, 5, 0)
	var a account
	require.NoError(t, w.publish(t.Context(), a.options(), numbered(25_000, 100)))
	all := w.read(orders)
	lastOfKey, partitionOfKey := map[string]string{}, map[string]int32{}
	count := 0
	for partition, log := range all {
		for _, r := range log {
			count++
			key := string(r.Key)
			require.Less(t, lastOfKey[key], string(r.Value), "records of %s out of order", key)
			lastOfKey[key] = string(r.Value)
			if at, seen := partitionOfKey[key]; seen {
				require.Equal(t, at, partition, "records of %s in two partitions", key)
			}
			partitionOfKey[key] = partition
		}
	}
	require.Equal(t, 25_000, count)
	// What is acknowledged is what is there.
	require.Len(t, a.acks, 25_000)
	for _, ack := range a.acks {
		require.Equal(t, all[ack.Partition][ack.Offset].Value, ack.Value)
	}
}

// Java's clients, librdkafka and the worker's producer choose the same partitions:
// these are those of Kafka's DefaultPartitioner.
func TestAKeysPartitionIsThatOfJavasClients(t *testing.T) {
	w := newOrders(t, 4, 0)
	var a account
	want := map[string]int32{}
	var records []publish.Record
	for _, key := range []string{"b563feb7b2b84b6test", "order1001test", "a", "bc", "def", "ghij", "ключ"} {
		want[key] = (javaMurmur2([]byte(key)) & 0x7fffffff) % 4
		records = append(records, publish.Record{Key: []byte(key), Value: []byte("v")})
	}
	require.NoError(t, w.publish(t.Context(), a.options(), list(records)))
	for _, ack := range a.acks {
		require.Equal(t, want[string(ack.Key)], ack.Partition, "key %s", ack.Key)
	}
	require.Len(t, a.acks, len(want))
}

// javaMurmur2 is org.apache.kafka.common.utils.Utils.murmur2, written down after
// its description.
func javaMurmur2(data []byte) int32 {
	const m, r = uint32(0x5bd1e995), 24
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	for i, b := range slices.Backward(data) {
		h ^= uint32(b) << (8 * i)
		if i == 0 {
			h *= m
		}
	}
	h ^= h >> 13
	h *= m
	return int32(h ^ h>>15)
}

func TestTombstonesAndEmptyValuesStayWhatTheyAre(t *testing.T) {
	w := newOrders(t, 1, 0)
	records := []publish.Record{{Key: []byte("a")}, {Key: []byte("b"), Value: []byte{}}, {Value: []byte("c")}}
	var a account
	require.NoError(t, w.publish(t.Context(), a.options(), list(records)))
	got := w.log(0)
	require.Len(t, got, 3)
	require.Nil(t, got[0].Value)
	require.NotNil(t, got[1].Value)
	require.Empty(t, got[1].Value)
	require.Nil(t, got[2].Key)
}

func TestPublishingToAMissingTopic(t *testing.T) {
	w := newOrders(t, 1, 0)
	_, err := publish.Kafka(t.Context(), []kgo.Opt{kgo.SeedBrokers(w.broker.Addr())}, "elsewhere", time.Minute)
	require.ErrorIs(t, err, kafkaconn.ErrNoTopic)
}

func TestPassingErrorsAreTriedAgain(t *testing.T) {
	for _, passing := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.NotEnoughReplicas} {
		w := newOrders(t, 1, 0)
		var calls atomic.Int32
		w.onProduce(func() *kerr.Error {
			if calls.Add(1) <= 2 {
				return passing
			}
			return nil
		})
		var a account
		require.NoError(t, w.publish(t.Context(), a.options(), numbered(10, 3)))
		require.Len(t, w.log(0), 10, "each record once")
		require.GreaterOrEqual(t, calls.Load(), int32(3), "again after each error; the client may need two requests for the records")
	}
}

// One record is one request an attempt, so the attempts can be counted.
func TestARecordIsTriedAgainOnceForEachError(t *testing.T) {
	w := newOrders(t, 1, 0)
	var calls atomic.Int32
	w.onProduce(func() *kerr.Error {
		if calls.Add(1) <= 2 {
			return kerr.NotLeaderForPartition
		}
		return nil
	})
	var a account
	require.NoError(t, w.publish(t.Context(), a.options(), numbered(1, 1)))
	require.Len(t, w.log(0), 1)
	require.EqualValues(t, 3, calls.Load())
}

func TestABrokerThatStaysAwayIsReported(t *testing.T) {
	w := newOrders(t, 1, 0)
	var a account
	w.onProduce(func() *kerr.Error { return kerr.LeaderNotAvailable })
	require.Error(t, w.publishFor(t.Context(), 4*time.Second, a.options(), numbered(10, 3)), "it gives up")
	require.Equal(t, 1, a.retries)
	require.Empty(t, a.acks)
}

func TestLastingErrorsEndTheWork(t *testing.T) {
	w := newOrders(t, 3, 0)
	w.onProduce(func() *kerr.Error { return kerr.TopicAuthorizationFailed })
	var a account
	require.ErrorIs(t, w.publish(t.Context(), a.options(), numbered(100_000, 7)), kerr.TopicAuthorizationFailed)
	require.Empty(t, a.acks)
}

func TestRecordThatTheBrokerRefusesIsFoundAndLeftOut(t *testing.T) {
	w := newOrders(t, 1, 10_000)
	large := make([]byte, 20_000)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(large)
	var records []publish.Record
	for i := range 100 {
		records = append(records, publish.Record{Key: []byte("k"), Value: fmt.Appendf(nil, "%08d", i), Info: i})
	}
	records[42].Value = large
	var a account
	require.NoError(t, w.publish(t.Context(), a.options(), list(records)))
	require.Len(t, a.refused, 1)
	require.Equal(t, 42, a.refused[0].Info)
	require.Len(t, a.acks, 99)
	for i, r := range w.log(0) {
		want := i
		if want >= 42 {
			want++
		}
		require.Equal(t, fmt.Sprintf("%08d", want), string(r.Value), "order is kept")
	}
}

func TestLargeRecordsAreSentAloneAndCompressed(t *testing.T) {
	w := newOrders(t, 1, 0)
	var batches atomic.Int32
	w.onProduce(func() *kerr.Error { batches.Add(1); return nil })
	large := bytes.Repeat([]byte("x"), 1<<20)
	var a account
	require.NoError(t, w.publish(t.Context(), a.options(), list([]publish.Record{{Value: []byte("a")}, {Value: large}, {Value: []byte("b")}})))
	got := w.log(0)
	require.Len(t, got, 3)
	var compressed []bool
	for _, r := range got {
		compressed = append(compressed, r.Attrs.CompressionType() != 0)
	}
	require.Equal(t, []bool{false, true, false}, compressed)
	require.EqualValues(t, 3, batches.Load())
}

func TestBatchesStayBelowTheTopicsLimit(t *testing.T) {
	w := newOrders(t, 2, 1<<20)
	random := rand.NewChaCha8([32]byte{})
	var records []publish.Record
	for range 500 {
		value := make([]byte, 10_000)
		_, _ = random.Read(value)
		records = append(records, publish.Record{Value: value})
	}
	var requests atomic.Int32
	w.onProduce(func() *kerr.Error { requests.Add(1); return nil })
	var a account
	require.NoError(t, w.publish(t.Context(), a.options(), list(records)))
	require.Len(t, append(w.log(0), w.log(1)...), 500)
	require.Empty(t, a.refused)
	require.Less(t, requests.Load(), int32(50), "no batch was refused and taken apart")
}

func TestErrorsOfTheCallerEndTheWork(t *testing.T) {
	w := newOrders(t, 2, 0)
	full := errors.New("disk full")
	a := account{onAck: func() error { return full }}
	require.ErrorIs(t, w.publish(t.Context(), a.options(), numbered(1_000_000, 7)), full)

	torn := errors.New("file torn")
	a = account{}
	require.ErrorIs(t, w.publish(t.Context(), a.options(), func() (publish.Record, error) { return publish.Record{}, torn }), torn)
}

// What is sent when the work is to stop is waited for; nothing more is sent.
func TestStopInTheMiddle(t *testing.T) {
	w := newOrders(t, 1, 0)
	ctx, stop := context.WithCancel(t.Context())
	w.onProduce(func() *kerr.Error { stop(); return nil })
	var a account
	require.ErrorIs(t, w.publish(ctx, a.options(), numbered(1_000_000, 7)), context.Canceled)
	const batch = 5000 // which the client may send in several requests
	require.Len(t, w.log(0), batch)
	require.Len(t, a.acks, batch)
}

func TestStopWhileTheBrokersAreAway(t *testing.T) {
	w := newOrders(t, 1, 0)
	ctx, stop := context.WithCancel(t.Context())
	w.onProduce(func() *kerr.Error { stop(); return kerr.LeaderNotAvailable })
	var a account
	require.ErrorIs(t, w.publish(ctx, a.options(), numbered(1_000_000, 7)), context.Canceled)
	require.Empty(t, a.acks)
}

// With a rate, a record that is due does not wait for its batch to fill.
func TestRateSendsWhatIsDue(t *testing.T) {
	w := newOrders(t, 1, 0)
	first := make(chan struct{})
	a := account{}
	a.onAck = func() error {
		if len(a.acks) == 1 {
			close(first)
		}
		return nil
	}
	opts := a.options()
	opts.Rate = 0.001 // the second is due in a quarter of an hour
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- w.publish(ctx, opts, numbered(2, 1)) }()
	<-first
	stop()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Len(t, w.log(0), 1)
}
