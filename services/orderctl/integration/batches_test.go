package integration

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// batch makes a batch as compaction leaves it: it spans the offsets first to last
// and holds records at some of them.
func batch(codec kgo.CompressionCodecType, first, last int64, at ...int64) []byte {
	var records []byte
	for _, offset := range at {
		record := kmsg.Record{OffsetDelta: int32(offset - first), Key: []byte{byte(offset)}, Value: []byte("value")}
		record.Length = int32(len(record.AppendTo(nil)) - 1) // a length of one byte
		records = record.AppendTo(records)
	}
	if codec == kgo.CodecGzip {
		compressor, err := kgo.DefaultCompressor(kgo.GzipCompression())
		if err != nil {
			panic(err)
		}
		records, _ = compressor.Compress(new(bytes.Buffer), records)
	}
	b := kmsg.RecordBatch{
		FirstOffset: first, PartitionLeaderEpoch: -1, Magic: 2, Attributes: int16(codec), LastOffsetDelta: int32(last - first),
		FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_000, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: int32(len(at)), Records: records,
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// serve answers fetches of a partition with batches, by the offset asked for.
func (w *world) serve(give func(offset int64) []byte) {
	w.broker.Cluster().ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		w.broker.Cluster().KeepControl()
		asked := request.(*kmsg.FetchRequest)
		answer := asked.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range asked.Topics {
			topicAnswer := kmsg.NewFetchResponseTopic()
			topicAnswer.Topic, topicAnswer.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewFetchResponseTopicPartition()
				part.Partition, part.RecordBatches = p.Partition, give(p.FetchOffset)
				topicAnswer.Partitions = append(topicAnswer.Partitions, part)
			}
			answer.Topics = append(answer.Topics, topicAnswer)
		}
		return answer, nil, true
	})
}

func TestReadingStepsOverWhatCompactionLeft(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodecType{"plain": kgo.CodecNone, "compressed": kgo.CodecGzip} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			batches := []struct {
				next int64
				raw  []byte
			}{
				{5, batch(kgo.CodecNone, 0, 4)},    // emptied
				{10, batch(codec, 5, 9, 6)},        // its last records are gone
				{20, batch(codec, 10, 19, 10, 15)}, //
				{30, batch(codec, 25, 29, 29)},     // the batches before it are gone
				{40, batch(kgo.CodecNone, 30, 39)}, // the end, emptied
			}
			w.serve(func(offset int64) (all []byte) {
				for _, b := range batches {
					if offset < b.next {
						return append(all, b.raw...) // one at a time
					}
				}
				return nil
			})
			var offsets []int64
			gaps, err := w.client.Read(t.Context(), dlqTopic, map[int32][]dlq.Span{0: {{From: 0, To: 40}}}, func(r *kgo.Record) error {
				offsets = append(offsets, r.Offset)
				return nil
			})
			require.NoError(t, err)
			require.Empty(t, gaps)
			require.Equal(t, []int64{6, 10, 15, 29}, offsets)

			offsets = nil
			_, err = w.client.Read(t.Context(), dlqTopic, map[int32][]dlq.Span{0: {{From: 7, To: 15}, {From: 16, To: 30}}}, func(r *kgo.Record) error {
				offsets = append(offsets, r.Offset)
				return nil
			})
			require.NoError(t, err)
			require.Equal(t, []int64{10, 29}, offsets)
		})
	}
}

func TestABatchThatIsDamagedIsNotPassedOver(t *testing.T) {
	w := newWorld(t)
	raw := batch(kgo.CodecNone, 0, 0, 0)
	raw[len(raw)-1] ^= 1
	w.serve(func(int64) []byte { return raw })
	_, err := w.client.Read(t.Context(), dlqTopic, map[int32][]dlq.Span{0: {{From: 0, To: 1}}}, func(*kgo.Record) error { return nil })
	require.ErrorContains(t, err, "unreadable batch")
	require.ErrorContains(t, err, "orders.dlq, partition 0, offset 0")
}

func TestABrokerThatGivesNothing(t *testing.T) {
	w := newWorld(t)
	w.serve(func(int64) []byte { return nil })
	_, err := w.client.Read(t.Context(), dlqTopic, map[int32][]dlq.Span{0: {{From: 0, To: 1}}}, func(*kgo.Record) error { return nil })
	require.ErrorContains(t, err, "returns nothing at offset 0")
}

func TestATopicThatIsTruncatedWhileItIsRead(t *testing.T) {
	w := newWorld(t)
	w.letters(4)
	admin, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()))
	require.NoError(t, err)
	defer admin.Close()
	bounds, err := w.client.Bounds(t.Context(), dlqTopic)
	require.NoError(t, err)

	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 5000
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = 0, 2
	of := kmsg.NewDeleteRecordsRequestTopic()
	of.Topic, of.Partitions = dlqTopic, append(of.Partitions, part)
	request.Topics = append(request.Topics, of)
	_, err = request.RequestWith(t.Context(), admin)
	require.NoError(t, err)

	read := 0
	gaps, err := w.client.Read(t.Context(), dlqTopic, map[int32][]dlq.Span{0: {bounds[0]}}, func(*kgo.Record) error { read++; return nil })
	require.NoError(t, err)
	require.Equal(t, []dlq.Gap{{Topic: dlqTopic, Partition: 0, Span: dlq.Span{From: 0, To: 2}}}, gaps)
	require.EqualValues(t, bounds[0].To-2, read)

	_, err = w.client.Read(t.Context(), dlqTopic, map[int32][]dlq.Span{0: {{From: bounds[0].To + 5, To: bounds[0].To + 6}}}, func(*kgo.Record) error { return nil })
	require.ErrorContains(t, err, "run the command again")
}

func TestAMissingTopic(t *testing.T) {
	w := newWorld(t)
	_, err := w.client.Bounds(t.Context(), "absent")
	require.ErrorIs(t, err, dlq.ErrNoTopic)
	_, err = w.client.Partitions(t.Context(), "absent")
	require.ErrorIs(t, err, dlq.ErrNoTopic)
	_, err = w.client.Read(t.Context(), "absent", map[int32][]dlq.Span{0: {{From: 0, To: 1}}}, func(*kgo.Record) error { return nil })
	require.ErrorIs(t, err, dlq.ErrNoTopic)
}

func TestALeaderThatIsAwayForAMoment(t *testing.T) {
	w := newWorld(t)
	w.letters(1)
	var refused atomic.Int32
	w.broker.Cluster().ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		w.broker.Cluster().KeepControl()
		if refused.Add(1) > 3 {
			return nil, nil, false
		}
		answer := request.ResponseKind().(*kmsg.FetchResponse)
		answer.ErrorCode = 6 // NOT_LEADER_OR_FOLLOWER
		return answer, nil, true
	})
	read := 0
	_, err := w.client.Read(t.Context(), dlqTopic, map[int32][]dlq.Span{0: {{From: 0, To: 1}}}, func(*kgo.Record) error { read++; return nil })
	require.NoError(t, err)
	require.Equal(t, 1, read)
	require.EqualValues(t, 4, refused.Load())
}

func TestFollowHandsOutWhatArrives(t *testing.T) {
	w := newWorld(t)
	view := w.scan()
	w.letters(1)
	got := make(chan string, 10)
	done := make(chan error, 1)
	stop := errors.New("enough")
	go func() {
		done <- view.Follow(t.Context(), func(l *letter.Letter, _ letter.Status) error {
			got <- l.ID
			if len(got) == 6 {
				return stop
			}
			return nil
		})
	}()
	for len(got) < 3 {
		time.Sleep(time.Millisecond) // until it is at the end
	}
	w.letters(1)
	require.ErrorIs(t, <-done, stop)
}
