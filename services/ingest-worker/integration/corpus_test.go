package integration

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// The corpus goes through the whole worker, once in batches of each codec: what
// is an order is stored as its canonical JSON, what is none becomes a dead letter
// with its bytes untouched, and nothing holds up what comes behind.
func TestHostileRecords(t *testing.T) {
	codecs := map[string]kgo.CompressionCodec{
		"uncompressed": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			b := setupOn(t, broker.StartForTest(t, broker.Options{Configs: map[string]string{"message.max.bytes": "16777216"}}), postgres.ForTest(t), 1)
			client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
				kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(8<<20), kgo.ProducerLinger(50*time.Millisecond))
			require.NoError(t, err)
			defer client.Close()
			dead, accepted := brokenRecords(t), acceptedRecords(t)
			var records []*kgo.Record
			for i := range max(len(dead), len(accepted)) { // mixed, so that batches have both
				if i < len(dead) {
					records = append(records, &kgo.Record{Topic: ordersTopic, Value: dead[i].value})
				}
				if i < len(accepted) {
					records = append(records, &kgo.Record{Topic: ordersTopic, Value: accepted[i].value})
				}
			}
			require.NoError(t, client.ProduceSync(b.ctx, records...).FirstErr())
			b.startWorker()
			b.drained()

			codec := model.New(model.Options{})
			for _, r := range accepted {
				decoded, err := codec.Decode(r.value)
				require.NoError(t, err, r.name)
				require.Equal(t, string(model.AppendCanonical(nil, decoded.Order)), b.stored(decoded.Order.OrderUID), r.name)
			}
			require.Equal(t, len(accepted), b.count("orders"))
			letters := b.letters()
			require.Len(t, letters, len(dead))
			at := 0
			for i, r := range dead {
				record := records[at]
				at++
				if i < len(accepted) {
					at++
				}
				l, ok := letters[deadletter.ID(deadletter.Source{
					Topic: ordersTopic, Offset: record.Offset, Timestamp: record.Timestamp, Value: r.value,
				})]
				require.True(t, ok, "%s: no letter", r.name)
				require.Equal(t, r.reason, l.Headers[deadletter.HeaderReason], r.name)
				require.Equal(t, r.stage, l.Headers[deadletter.HeaderStage], r.name)
				require.True(t, bytes.Equal(r.value, l.Value), "%s: the value is touched", r.name)
				require.Equal(t, r.value == nil, l.Headers[deadletter.HeaderValue] == "null", r.name)
			}
		})
	}
}

// A batch of kilobytes can ask for gigabytes when it is decompressed.
func TestARecordThatDecompressesToHundredsOfMegabytes(t *testing.T) {
	const size = 600 << 20
	for _, c := range []struct {
		name       string
		attributes int16
		compress   func(io.Writer) io.WriteCloser
	}{
		{"gzip", 1, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }},
		{"zstd", 4, func(w io.Writer) io.WriteCloser {
			encoder, err := zstd.NewWriter(w)
			require.NoError(t, err)
			return encoder
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var compressed bytes.Buffer
			w := c.compress(&compressed)
			_, err := w.Write(recordHead(size))
			require.NoError(t, err)
			chunk := make([]byte, 1<<20)
			for range size >> 20 {
				_, err = w.Write(chunk)
				require.NoError(t, err)
			}
			_, err = w.Write([]byte{0}) // no headers
			require.NoError(t, err)
			require.NoError(t, w.Close())
			require.Less(t, compressed.Len(), 1<<20)

			b := setup(t, 1)
			after := order(t, "after", "1")
			b.serve(encodeBatch(0, 0, 1, c.attributes, compressed.Bytes()), encodeBatch(1, 0, 1, 0, plainRecord(0, after)))
			peak := watchHeap(t)
			b.startWorker()
			b.eventually("the order behind is stored", func() (bool, string) { return b.stored("after") != "", "" })
			require.Less(t, peak(), uint64(200<<20), "bytes of heap in use")
			l := b.letterOf(0, 0)
			require.Equal(t, "too_large", l.Headers[deadletter.HeaderReason])
			require.Contains(t, l.Headers[deadletter.HeaderTruncated], fmt.Sprintf(`"size":%d`, size))
			require.Equal(t, make([]byte, 1<<20), l.Value, "the beginning is kept")
		})
	}
}

// Compaction leaves batches without records, and batches whose last records are
// gone. Neither holds the partition, and the end is committed.
func TestBatchesThatCompactionEmptiedOrCut(t *testing.T) {
	b := setup(t, 1)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write(plainRecord(1, order(t, "zipped", "1")))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	b.serve(
		encodeBatch(0, 4, 0, 0, nil),                                     // offsets 0 to 4: nothing is left
		encodeBatch(5, 9, 1, 0, plainRecord(2, order(t, "middle", "1"))), // only 7 of 5 to 14 is left
		encodeBatch(15, 2, 0, 1, nil),                                    // compressed, and nothing is left
		encodeBatch(18, 3, 1, 1, zipped.Bytes()),                         // only 19 of 18 to 21
		encodeBatch(22, 0, 1, 0, plainRecord(0, []byte("no order"))),
		encodeBatch(23, 7, 0, 0, nil), // the end, 31
	)
	b.startWorker()
	b.eventually("the end is committed", func() (bool, string) {
		group := b.broker.Cluster().GroupInfo(group)
		if group == nil {
			return false, "no group"
		}
		at := group.Commits[ordersTopic][0].Offset
		return at == 31, fmt.Sprint("committed ", at)
	})
	require.NotEmpty(t, b.stored("middle"))
	require.NotEmpty(t, b.stored("zipped"))
	require.Equal(t, 2, b.count("orders"))
	require.Equal(t, []byte("no order"), b.letterOf(0, 22).Value)
	require.Len(t, b.letters(), 1)
}

// serve has the broker answer each Fetch of the orders' partition from batches
// made by hand, as if the log held these.
func (b *bundle) serve(batches ...[]byte) {
	b.t.Helper()
	last := batches[len(batches)-1]
	end := int64(binary.BigEndian.Uint64(last)) + int64(binary.BigEndian.Uint32(last[23:])) + 1
	b.broker.Cluster().ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster().KeepControl()
		fetch := request.(*kmsg.FetchRequest)
		if len(fetch.Topics) != 1 || fetch.Topics[0].Topic != ordersTopic {
			return nil, nil, false
		}
		response := fetch.ResponseKind().(*kmsg.FetchResponse)
		partition := kmsg.NewFetchResponseTopicPartition()
		partition.HighWatermark, partition.LastStableOffset, partition.LogStartOffset = end, end, 0
		for _, batch := range batches {
			base, delta := int64(binary.BigEndian.Uint64(batch)), int64(binary.BigEndian.Uint32(batch[23:]))
			if base+delta >= fetch.Topics[0].Partitions[0].FetchOffset {
				partition.RecordBatches = append(partition.RecordBatches, batch...)
			}
		}
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.Partitions = ordersTopic, []kmsg.FetchResponseTopicPartition{partition}
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
}

// encodeBatch makes a batch of format 2 that holds count records, whatever its
// offsets say.
func encodeBatch(base int64, lastDelta, count int32, attributes int16, records []byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint64(nil, uint64(base))
	b = be.AppendUint32(b, uint32(49+len(records)))
	b = be.AppendUint32(b, 0)    // leader's epoch
	b = append(b, 2, 0, 0, 0, 0) // format, checksum
	b = be.AppendUint16(b, uint16(attributes))
	b = be.AppendUint32(b, uint32(lastDelta))
	b = be.AppendUint64(b, 1_700_000_000_000)
	b = be.AppendUint64(b, 1_700_000_000_000)
	b = be.AppendUint64(b, ^uint64(0)) // no producer id
	b = be.AppendUint16(b, ^uint16(0))
	b = be.AppendUint32(b, ^uint32(0))
	b = be.AppendUint32(b, uint32(count))
	b = append(b, records...)
	be.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// plainRecord is a record of a batch, with its offset relative to the batch's.
func plainRecord(delta int64, value []byte) []byte {
	body := []byte{0, 0} // attributes, timestamp
	body = binary.AppendVarint(body, delta)
	body = binary.AppendVarint(body, -1) // no key
	body = binary.AppendVarint(body, int64(len(value)))
	body = append(body, value...)
	body = append(body, 0) // no headers
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

// recordHead is what comes before the value of so many bytes in a batch's first
// record; behind the value comes the number of headers, one byte.
func recordHead(size int64) []byte {
	body := binary.AppendVarint([]byte{0, 0, 0, 1}, size) // attributes, timestamp, offset, no key
	return append(binary.AppendVarint(nil, int64(len(body))+size+1), body...)
}

// watchHeap looks at the heap over and over until the returned function is
// called, which gives the most that was in use.
func watchHeap(t *testing.T) (peak func() uint64) {
	t.Helper()
	var most atomic.Uint64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most.Store(max(most.Load(), m.HeapInuse))
			time.Sleep(time.Millisecond)
		}
	}()
	stop := func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return func() uint64 {
		stop()
		return most.Load()
	}
}
