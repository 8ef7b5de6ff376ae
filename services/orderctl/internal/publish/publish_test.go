package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish/publishtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// account notes what a Publisher tells.
type account struct {
	acks    []publish.Ack
	refused []publish.Record
	retries int
	onAck   func() error
}

func (a *account) options() publish.Options {
	return publish.Options{
		Topic: "orders", GiveUpAfter: time.Minute,
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

func run(t *testing.T, b *publishtest.Brokers, opts publish.Options, next func() (publish.Record, error)) error {
	t.Helper()
	p, err := publish.New(t.Context(), b.Client(), opts)
	require.NoError(t, err)
	return p.Run(t.Context(), next)
}

func TestRecordsArriveInTheOrderOfTheirKeys(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 5}
	var a account
	require.NoError(t, run(t, brokers, a.options(), numbered(25_000, 100)))
	require.Len(t, brokers.All(), 25_000)

	logs := make([][]publishtest.Record, 5)
	lastOfKey, partitionOfKey := map[string]string{}, map[string]int{}
	for partition := range 5 {
		logs[partition] = brokers.Log(partition)
		for _, r := range logs[partition] {
			key := string(r.Key)
			require.Less(t, lastOfKey[key], string(r.Value), "records of %s out of order", key)
			lastOfKey[key] = string(r.Value)
			if at, seen := partitionOfKey[key]; seen {
				require.Equal(t, at, partition, "records of %s in two partitions", key)
			}
			partitionOfKey[key] = partition
		}
	}
	// What is acknowledged is what is there.
	require.Len(t, a.acks, 25_000)
	for _, ack := range a.acks {
		require.Equal(t, logs[ack.Partition][ack.Offset].Value, ack.Value)
	}
}

func TestTombstonesAndEmptyValuesStayWhatTheyAre(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 1}
	records := []publish.Record{{Key: []byte("a")}, {Key: []byte("b"), Value: []byte{}}, {Value: []byte("c")}}
	var a account
	require.NoError(t, run(t, brokers, a.options(), list(records)))
	got := brokers.Log(0)
	require.Len(t, got, 3)
	require.Nil(t, got[0].Value)
	require.NotNil(t, got[1].Value)
	require.Empty(t, got[1].Value)
	require.Nil(t, got[2].Key)
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

func TestMissingTopic(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "others", Partitions: 1}
	_, err := publish.New(t.Context(), brokers.Client(), publish.Options{Topic: "orders"})
	require.ErrorIs(t, err, publish.ErrNoTopic)
}

func TestPassingErrorsAreTriedAgain(t *testing.T) {
	for _, passing := range []error{kafka.NotLeaderForPartition, kafka.RequestTimedOut, io.ErrUnexpectedEOF} {
		var calls atomic.Int32
		brokers := &publishtest.Brokers{Topic: "orders", Partitions: 1, OnProduce: func(context.Context, int, []publishtest.Record) error {
			if calls.Add(1) <= 2 {
				return passing
			}
			return nil
		}}
		var a account
		require.NoError(t, run(t, brokers, a.options(), numbered(10, 3)))
		require.Len(t, brokers.Log(0), 10)
		require.Equal(t, 2, a.retries)
	}
}

func TestLastingErrorsEndTheWork(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 3, OnProduce: func(context.Context, int, []publishtest.Record) error {
		return kafka.TopicAuthorizationFailed
	}}
	var a account
	require.ErrorIs(t, run(t, brokers, a.options(), numbered(100_000, 7)), kafka.TopicAuthorizationFailed)
	require.Empty(t, a.acks)
}

func TestGivingUp(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 1, OnProduce: func(context.Context, int, []publishtest.Record) error {
		return kafka.LeaderNotAvailable
	}}
	var a account
	opts := a.options()
	opts.GiveUpAfter = time.Nanosecond
	require.ErrorIs(t, run(t, brokers, opts, numbered(10, 3)), kafka.LeaderNotAvailable)
}

func TestRecordThatTheBrokerRefusesIsFoundAndLeftOut(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 1, OnProduce: func(_ context.Context, _ int, batch []publishtest.Record) error {
		for _, r := range batch {
			if bytes.Equal(r.Value, []byte("00000042")) {
				return kafka.MessageSizeTooLarge
			}
		}
		return nil
	}}
	var a account
	require.NoError(t, run(t, brokers, a.options(), numbered(100, 1)))
	require.Len(t, a.refused, 1)
	require.Equal(t, 42, a.refused[0].Info)
	require.Len(t, a.acks, 99)
	for i, r := range brokers.Log(0) {
		want := i + 1
		if want >= 42 {
			want++
		}
		require.Equal(t, fmt.Sprintf("%08d", want), string(r.Value), "order is kept")
	}
}

func TestLargeRecordsAreSentAloneAndCompressed(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 1}
	large := bytes.Repeat([]byte("x"), 1<<20)
	var a account
	require.NoError(t, run(t, brokers, a.options(), list([]publish.Record{{Value: []byte("a")}, {Value: large}, {Value: []byte("b")}})))
	got := brokers.Log(0)
	require.Len(t, got, 3)
	require.Equal(t, []bool{false, true, false}, []bool{got[0].Compressed, got[1].Compressed, got[2].Compressed})
	require.Equal(t, 3, brokers.Batches())
}

func TestBatchesStayBelowTheTopicsLimit(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 2, OnProduce: func(_ context.Context, _ int, batch []publishtest.Record) error {
		size := 0
		for _, r := range batch {
			size += len(r.Key) + len(r.Value)
		}
		if size > 1<<20 {
			return kafka.MessageSizeTooLarge
		}
		return nil
	}}
	var records []publish.Record
	for range 500 {
		records = append(records, publish.Record{Value: bytes.Repeat([]byte("y"), 10_000)})
	}
	var a account
	require.NoError(t, run(t, brokers, a.options(), list(records)))
	require.Len(t, brokers.All(), 500)
	require.Empty(t, a.refused)
}

func TestErrorsOfTheCallerEndTheWork(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 2}
	full := errors.New("disk full")
	a := account{onAck: func() error { return full }}
	require.ErrorIs(t, run(t, brokers, a.options(), numbered(1_000_000, 7)), full)

	torn := errors.New("file torn")
	a = account{}
	require.ErrorIs(t, run(t, brokers, a.options(), func() (publish.Record, error) { return publish.Record{}, torn }), torn)
}

// What is under way when the work is to stop is waited for; nothing more is sent.
func TestStopInTheMiddle(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	interrupted := make(chan struct{})
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 1, OnProduce: func(attempt context.Context, _ int, _ []publishtest.Record) error {
		stop()
		close(interrupted) // a second batch would close it again
		return attempt.Err()
	}}
	var a account
	p, err := publish.New(ctx, brokers.Client(), a.options())
	require.NoError(t, err)
	require.ErrorIs(t, p.Run(ctx, numbered(1_000_000, 7)), context.Canceled)
	<-interrupted
	require.Len(t, a.acks, len(brokers.Log(0)))
	require.NotEmpty(t, a.acks)
}

func TestStopWhileTheBrokersAreAway(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 1, OnProduce: func(context.Context, int, []publishtest.Record) error {
		stop()
		return kafka.LeaderNotAvailable
	}}
	var a account
	p, err := publish.New(ctx, brokers.Client(), a.options())
	require.NoError(t, err)
	require.ErrorIs(t, p.Run(ctx, numbered(1_000_000, 7)), context.Canceled)
	require.Empty(t, a.acks)
}

// With a rate, a record that is due does not wait for its batch to fill.
func TestRateSendsWhatIsDue(t *testing.T) {
	brokers := &publishtest.Brokers{Topic: "orders", Partitions: 1}
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
	p, err := publish.New(ctx, brokers.Client(), opts)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, numbered(2, 1)) }()
	<-first
	stop()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Len(t, brokers.Log(0), 1)
}
