package fetch

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/stretchr/testify/require"
)

// fakeBroker is a broker that answers in whatever way a test wants. It leads the
// only partition, 3 of orders, which holds the offsets 100 to 199.
type fakeBroker struct {
	t        *testing.T
	listener net.Listener
	wait     sync.WaitGroup

	mutex       sync.Mutex
	conns       []net.Conn
	connected   int
	fetches     []*fetchapi.Request
	minVersion  int16
	maxVersion  int16
	topicError  kafka.Error
	leaderError kafka.Error
	// answer gives what follows the length and the number of an answer to the
	// n-th Fetch; nil means silence.
	answer func(n int, version int16, request *fetchapi.Request) []byte
}

func newFakeBroker(t *testing.T) *fakeBroker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &fakeBroker{t: t, listener: listener, minVersion: 4, maxVersion: 11}
	b.wait.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			b.mutex.Lock()
			b.conns = append(b.conns, c)
			b.connected++
			b.mutex.Unlock()
			b.wait.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		b.cut()
		b.wait.Wait()
	})
	return b
}

// cut closes all connections.
func (b *fakeBroker) cut() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, c := range b.conns {
		_ = c.Close() // the other side may have done so
	}
	b.conns = nil
}

func (b *fakeBroker) reader(t *testing.T, edit func(*Config)) *Reader {
	t.Helper()
	cfg := Config{Brokers: []string{b.listener.Addr().String()}, Dialer: &kafka.Dialer{ClientID: "test"}, Topic: "orders", Partition: 3}
	if edit != nil {
		edit(&cfg)
	}
	r := NewReader(cfg)
	t.Cleanup(func() { _ = r.Close() }) // which may be broken by then
	return r
}

func (b *fakeBroker) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	for {
		version, id, _, request, err := protocol.ReadRequest(c)
		if err != nil {
			return
		}
		if fetch, ok := request.(*fetchapi.Request); ok {
			err = b.serveFetch(c, version, id, fetch)
		} else {
			err = protocol.WriteResponse(c, version, id, b.respond(request))
		}
		if err != nil {
			return
		}
	}
}

func (b *fakeBroker) serveFetch(c net.Conn, version int16, id int32, request *fetchapi.Request) error {
	b.mutex.Lock()
	b.fetches = append(b.fetches, request)
	n := len(b.fetches) - 1
	b.mutex.Unlock()
	data := b.answer(n, version, request)
	if data == nil {
		return nil
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(data)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(id))
	_, err := c.Write(append(frame, data...))
	return err
}

func (b *fakeBroker) respond(request protocol.Message) protocol.Message {
	switch r := request.(type) {
	case *apiversions.Request:
		return &apiversions.Response{ApiKeys: []apiversions.ApiKeyResponse{
			{ApiKey: int16(protocol.Fetch), MinVersion: b.minVersion, MaxVersion: b.maxVersion},
			{ApiKey: int16(protocol.Metadata), MaxVersion: 8},
			{ApiKey: int16(protocol.ListOffsets), MinVersion: 1, MaxVersion: 5},
		}}
	case *metadata.Request:
		host, port, _ := net.SplitHostPort(b.listener.Addr().String())
		number, _ := strconv.Atoi(port)
		leader := int32(1)
		if b.leaderError != 0 {
			leader = -1
		}
		return &metadata.Response{
			Brokers: []metadata.ResponseBroker{{NodeID: 1, Host: host, Port: int32(number)}},
			Topics: []metadata.ResponseTopic{{Name: r.TopicNames[0], ErrorCode: int16(b.topicError), Partitions: []metadata.ResponsePartition{
				{PartitionIndex: 2, LeaderID: 1}, {PartitionIndex: 3, LeaderID: leader, ErrorCode: int16(b.leaderError)},
			}}},
		}
	case *listoffsets.Request:
		p := r.Topics[0].Partitions[0]
		offset := int64(100)
		if p.Timestamp == kafka.LastOffset {
			offset = 200
		}
		return &listoffsets.Response{Topics: []listoffsets.ResponseTopic{{Topic: r.Topics[0].Topic, Partitions: []listoffsets.ResponsePartition{{Partition: p.Partition, Offset: offset}}}}}
	default:
		b.t.Errorf("unexpected request %T", request)
		return nil
	}
}

// wireAnswer encodes an answer by kafka-go's own means, with the records put in
// by hand.
func wireAnswer(tb testing.TB, version int16, edit func(*fetchapi.Response, *fetchapi.ResponsePartition), records ...[]byte) []byte {
	tb.Helper()
	r := &fetchapi.Response{Topics: []fetchapi.ResponseTopic{{Topic: "orders", Partitions: []fetchapi.ResponsePartition{{
		Partition: 3, HighWatermark: 200, LastStableOffset: 190, LogStartOffset: 100,
	}}}}}
	filler := func() protocol.RecordSet { // kafka-go writes no set without records
		return protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(protocol.Record{})}
	}
	r.Topics[0].Partitions[0].RecordSet = filler()
	if edit != nil {
		edit(r, &r.Topics[0].Partitions[0])
	}
	var buffer, set bytes.Buffer
	require.NoError(tb, protocol.WriteResponse(&buffer, version, 0, r))
	spare := filler()
	_, err := spare.WriteTo(&set)
	require.NoError(tb, err)
	data := buffer.Bytes()[8 : buffer.Len()-set.Len()] // without length and number, and without the set, which comes last
	all := bytes.Join(records, nil)
	data = binary.BigEndian.AppendUint32(data, uint32(len(all)))
	return append(data, all...)
}

// always answers each Fetch with the same.
func always(t *testing.T, edit func(*fetchapi.Response, *fetchapi.ResponsePartition), records ...[]byte) func(int, int16, *fetchapi.Request) []byte {
	t.Helper()
	return func(_ int, version int16, _ *fetchapi.Request) []byte {
		return wireAnswer(t, version, edit, records...)
	}
}

func fetchSeen(t *testing.T, r *Reader, offset, next int64, want ...seen) {
	t.Helper()
	a, err := r.Fetch(context.Background(), offset)
	require.NoError(t, err)
	defer a.Release()
	requireSeen(t, a, next, want...)
}
