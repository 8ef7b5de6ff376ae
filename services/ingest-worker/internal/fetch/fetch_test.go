package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/stretchr/testify/require"
)

func TestEachVersionOfFetch(t *testing.T) {
	for version := int16(oldestFetch); version <= newestFetch; version++ {
		b := newFakeBroker(t)
		b.maxVersion = version
		aborted := func(_ *fetchapi.Response, p *fetchapi.ResponsePartition) {
			p.AbortedTransactions = []fetchapi.ResponseTransaction{{ProducerID: 9, FirstOffset: 101}}
		}
		b.answer = always(t, aborted, batchOf(100, "a").encode(), batchOf(101, "x").by(9).encode())
		r := b.reader(t, nil)
		a, err := r.Fetch(context.Background(), 100)
		require.NoError(t, err)
		requireSeen(t, a, 102, seen{100, "a"})
		require.Equal(t, 1, a.AbortedRecords)
		require.EqualValues(t, 190, a.LastStableOffset)
		if version < 5 {
			require.EqualValues(t, -1, a.LogStartOffset)
		} else {
			require.EqualValues(t, 100, a.LogStartOffset)
		}
		request := b.fetches[0]
		require.EqualValues(t, readCommitted, request.IsolationLevel)
		require.EqualValues(t, 100, request.Topics[0].Partitions[0].FetchOffset)
	}
}

func TestBrokersTooOldOrTooNew(t *testing.T) {
	for _, versions := range [][2]int16{{0, 3}, {12, 20}} {
		b := newFakeBroker(t)
		b.minVersion, b.maxVersion = versions[0], versions[1]
		_, err := b.reader(t, nil).Fetch(context.Background(), 100)
		require.ErrorIs(t, err, kafka.UnsupportedVersion)
	}
}

func TestOneConnectionServesAll(t *testing.T) {
	b := newFakeBroker(t)
	b.answer = always(t, nil, batchOf(100, "a").encode())
	r := b.reader(t, nil)
	for range 3 {
		fetchSeen(t, r, 100, 101, seen{100, "a"})
	}
	first, end, err := r.Offsets(context.Background())
	require.NoError(t, err)
	require.EqualValues(t, 100, first)
	require.EqualValues(t, 200, end)
	require.Equal(t, 1, b.connected)
}

func TestOffsetsOutOfRange(t *testing.T) {
	b := newFakeBroker(t)
	b.answer = always(t, func(_ *fetchapi.Response, p *fetchapi.ResponsePartition) { p.ErrorCode = int16(kafka.OffsetOutOfRange) })
	r := b.reader(t, nil)
	for _, offset := range []int64{99, 201} {
		_, err := r.Fetch(context.Background(), offset)
		var out *OffsetOutOfRangeError
		require.ErrorAs(t, err, &out)
		require.Equal(t, OffsetOutOfRangeError{Topic: "orders", Partition: 3, Offset: offset, First: 100, End: 200}, *out)
	}
	_, err := r.Fetch(context.Background(), 150) // by the time we asked it was there
	require.ErrorIs(t, err, kafka.OffsetOutOfRange)
	require.NotErrorAs(t, err, new(*OffsetOutOfRangeError))
}

func TestErrorsOfTheBroker(t *testing.T) {
	b := newFakeBroker(t)
	b.answer = func(n int, version int16, _ *fetchapi.Request) []byte {
		edit := []func(*fetchapi.Response, *fetchapi.ResponsePartition){
			func(_ *fetchapi.Response, p *fetchapi.ResponsePartition) {
				p.ErrorCode = int16(kafka.NotLeaderForPartition)
			},
			func(r *fetchapi.Response, _ *fetchapi.ResponsePartition) {
				r.ErrorCode = int16(kafka.FetchSessionIDNotFound)
			},
			nil,
		}[n]
		return wireAnswer(t, version, edit)
	}
	r := b.reader(t, nil)
	_, err := r.Fetch(context.Background(), 100)
	require.ErrorIs(t, err, kafka.NotLeaderForPartition)
	_, err = r.Fetch(context.Background(), 100)
	require.ErrorIs(t, err, kafka.FetchSessionIDNotFound)
	fetchSeen(t, r, 100, 100)
	require.Equal(t, 3, b.connected) // the leader was looked for each time

	b = newFakeBroker(t)
	b.topicError = kafka.UnknownTopicOrPartition
	_, err = b.reader(t, nil).Fetch(context.Background(), 100)
	require.ErrorIs(t, err, kafka.UnknownTopicOrPartition)
	_, _, err = b.reader(t, nil).Offsets(context.Background())
	require.ErrorIs(t, err, kafka.UnknownTopicOrPartition)

	b = newFakeBroker(t)
	b.leaderError = kafka.LeaderNotAvailable
	_, err = b.reader(t, nil).Fetch(context.Background(), 100)
	require.ErrorIs(t, err, kafka.LeaderNotAvailable)
	_, err = b.reader(t, func(c *Config) { c.Partition = 8 }).Fetch(context.Background(), 100)
	require.ErrorIs(t, err, kafka.UnknownTopicOrPartition)
}

func TestLostConnections(t *testing.T) {
	b := newFakeBroker(t)
	b.answer = func(n int, version int16, _ *fetchapi.Request) []byte {
		if n == 0 {
			b.cut()
			return nil
		}
		return wireAnswer(t, version, nil, batchOf(100, "a").encode())
	}
	r := b.reader(t, nil)
	_, err := r.Fetch(context.Background(), 100)
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	fetchSeen(t, r, 100, 101, seen{100, "a"})
	b.cut() // while it is idle
	_, err = r.Fetch(context.Background(), 101)
	require.Error(t, err)
	fetchSeen(t, r, 100, 101, seen{100, "a"})

	// The first of the brokers is gone.
	r = b.reader(t, func(c *Config) { c.Brokers = append([]string{"127.0.0.1:1"}, c.Brokers...) })
	fetchSeen(t, r, 100, 101, seen{100, "a"})
	_, err = b.reader(t, func(c *Config) { c.Brokers = []string{"127.0.0.1:1"} }).Fetch(context.Background(), 100)
	require.ErrorContains(t, err, "127.0.0.1:1")
}

func TestASilentBrokerIsGivenUp(t *testing.T) {
	b := newFakeBroker(t)
	b.answer = func(int, int16, *fetchapi.Request) []byte { return nil }
	r := b.reader(t, func(c *Config) { c.MaxWait, c.Timeout = time.Millisecond, 20*time.Millisecond })
	_, err := r.Fetch(context.Background(), 100)
	var timeout interface{ Timeout() bool }
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
}

func TestCancelInterruptsALongPoll(t *testing.T) {
	b := newFakeBroker(t)
	ctx, cancel := context.WithCancel(context.Background())
	b.answer = func(int, int16, *fetchapi.Request) []byte {
		cancel() // now that the request is there
		return nil
	}
	r := b.reader(t, func(c *Config) { c.MaxWait, c.Timeout = time.Hour, time.Hour })
	_, err := r.Fetch(ctx, 100)
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.Fetch(ctx, 100)
	require.ErrorIs(t, err, context.Canceled)
}

func TestThrottlingIsWaitedOut(t *testing.T) {
	b := newFakeBroker(t)
	b.answer = always(t, func(r *fetchapi.Response, _ *fetchapi.ResponsePartition) { r.ThrottleTimeMs = 3_600_000 })
	r := b.reader(t, nil)
	fetchSeen(t, r, 100, 100)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := r.Fetch(ctx, 100)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, b.fetches, 1)
}

func TestABatchThatIsLargerThanMaxBytes(t *testing.T) {
	b := newFakeBroker(t)
	batch := batchOf(100, string(make([]byte, 1000))).encode()
	b.answer = func(_ int, version int16, request *fetchapi.Request) []byte {
		return wireAnswer(t, version, nil, batch[:min(len(batch), int(request.MaxBytes))])
	}
	for _, maxBytes := range []int32{1, 100, 5000} {
		r := b.reader(t, func(c *Config) { c.MaxBytes = maxBytes })
		fetchSeen(t, r, 100, 101, seen{100, string(make([]byte, 1000))})
	}
	// A broker that never gives it whole.
	b = newFakeBroker(t)
	b.answer = always(t, nil, batch[:20])
	_, err := b.reader(t, nil).Fetch(context.Background(), 100)
	require.ErrorAs(t, err, new(*TooLargeError))
}

func TestAnswersThatAreTooLargeOrMalformed(t *testing.T) {
	answers := map[string]func(good []byte) []byte{
		"short":       func(good []byte) []byte { return good[:len(good)-1] },
		"empty":       func([]byte) []byte { return []byte{} },
		"other topic": func(good []byte) []byte { return bytes.Replace(good, []byte("orders"), []byte("others"), 1) },
	}
	for name, spoil := range answers {
		t.Run(name, func(t *testing.T) {
			b := newFakeBroker(t)
			b.answer = func(_ int, version int16, _ *fetchapi.Request) []byte {
				return spoil(wireAnswer(t, version, nil, batchOf(100, "a").encode()))
			}
			_, err := b.reader(t, nil).Fetch(context.Background(), 100)
			require.ErrorIs(t, err, errMalformed)
		})
	}
}

func TestLengthsAreCheckedBeforeMemoryIsTaken(t *testing.T) {
	for length, check := range map[string]func(error){
		"\x7f\xff\xff\xff": func(err error) { require.ErrorAs(t, err, new(*TooLargeError)) },
		"\xff\xff\xff\xff": func(err error) { require.ErrorIs(t, err, errMalformed) },
		"\x00\x00\x00\x09": func(err error) { require.ErrorContains(t, err, "receive") },
	} {
		ours, theirs := net.Pipe()
		var write sync.WaitGroup
		write.Go(func() {
			_, _ = theirs.Write([]byte(length)) // the check below says how it went
			_ = theirs.Close()
		})
		c := &conn{Conn: protocol.NewConn(ours, "test")}
		_, _, err := c.exchange(context.Background(), testConfig(), time.Minute, 1<<20, func(int32) error { return nil })
		check(err)
		write.Wait()
		require.NoError(t, ours.Close())
	}
}

func TestAdmission(t *testing.T) {
	b := newFakeBroker(t)
	bad := batchOf(100, "a").encode()
	bad[len(bad)-1] ^= 1
	var sent atomic.Int64
	b.answer = func(n int, version int16, _ *fetchapi.Request) []byte {
		if n == 0 {
			good := wireAnswer(t, version, nil, batchOf(100, "a").encode())
			sent.Store(int64(4 + len(good))) // with its number
			return good
		}
		return wireAnswer(t, version, nil, bad)
	}
	var held, asked atomic.Int64
	refusal := error(nil)
	r := b.reader(t, func(c *Config) {
		c.Admit = func(_ context.Context, size int) (func(), error) {
			asked.Store(int64(size))
			held.Add(1)
			return func() { held.Add(-1) }, refusal
		}
	})
	a, err := r.Fetch(context.Background(), 100)
	require.NoError(t, err)
	require.EqualValues(t, 1, held.Load())
	require.Equal(t, sent.Load(), asked.Load())
	a.Release()
	a.Release()
	require.Zero(t, held.Load())

	_, err = r.Fetch(context.Background(), 100)
	require.ErrorAs(t, err, new(*CorruptBatchError))
	require.Zero(t, held.Load())

	refusal = errors.New("no room")
	_, err = r.Fetch(context.Background(), 100)
	require.ErrorIs(t, err, refusal)
}
