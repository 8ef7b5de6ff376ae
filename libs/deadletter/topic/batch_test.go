package topic

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batch makes a batch of some of the offsets from first on, as compaction leaves
// them.
func batch(t testing.TB, random *rand.Rand, first int64) (raw []byte, next int64) {
	t.Helper()
	codec := []kgo.CompressionCodecType{kgo.CodecNone, kgo.CodecGzip, kgo.CodecSnappy, kgo.CodecLz4, kgo.CodecZstd}[random.IntN(5)]
	last := int32(random.IntN(6))
	data := func() []byte {
		return [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte("long "), 40)}[random.IntN(4)]
	}
	var records []byte
	count := int32(0)
	for delta := range last + 1 {
		if random.IntN(3) == 0 {
			continue
		}
		r := kmsg.Record{TimestampDelta64: int64(random.IntN(5)) - 2, OffsetDelta: delta, Key: data(), Value: data()}
		for n := range random.IntN(3) {
			r.Headers = append(r.Headers, kmsg.Header{Key: fmt.Sprint("header", n), Value: data()})
		}
		body := r.AppendTo(nil)
		_, size := binary.Varint(body)
		r.Length = int32(len(body) - size)
		records = r.AppendTo(records)
		count++
	}
	if codec != kgo.CodecNone {
		compressor, err := kgo.DefaultCompressor(map[kgo.CompressionCodecType]kgo.CompressionCodec{
			kgo.CodecGzip: kgo.GzipCompression(), kgo.CodecSnappy: kgo.SnappyCompression(), kgo.CodecLz4: kgo.Lz4Compression(), kgo.CodecZstd: kgo.ZstdCompression(),
		}[codec])
		require.NoError(t, err)
		records, _ = compressor.Compress(new(bytes.Buffer), records)
	}
	attributes := int16(codec)
	if random.IntN(3) == 0 {
		attributes |= logAppendTime
	}
	b := kmsg.RecordBatch{
		FirstOffset: first, PartitionLeaderEpoch: -1, Magic: 2, Attributes: attributes, LastOffsetDelta: last,
		FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_500, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: count, Records: records,
	}
	raw = b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[batchLength:], uint32(len(raw)-batchPrefix))
	binary.BigEndian.PutUint32(raw[batchCRC:], crc32.Checksum(raw[batchAttributes:], castagnoli))
	return raw, first + int64(last) + 1
}

// seen is what is compared of a record.
type seen struct {
	offset, millis int64
	key, value     string
	headers        string
}

func see(r *kgo.Record) seen {
	return seen{r.Offset, r.Timestamp.UnixMilli(), fmt.Sprintf("%t %q", r.Key == nil, r.Key), fmt.Sprintf("%t %q", r.Value == nil, r.Value), fmt.Sprintf("%q", r.Headers)}
}

// What is read without a copy of each record is what franz-go reads.
func TestBatchesAreReadAsFranzGoReadsThem(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 400 {
		var answer kmsg.FetchResponseTopicPartition
		at := int64(random.IntN(3))
		for range random.IntN(4) {
			var raw []byte
			raw, at = batch(t, random, at)
			answer.RecordBatches = append(answer.RecordBatches, raw...)
			at += int64(random.IntN(2))
		}
		if len(answer.RecordBatches) > 0 && random.IntN(4) == 0 { // the last one cut off
			answer.RecordBatches = answer.RecordBatches[:len(answer.RecordBatches)-1-random.IntN(40)]
		}
		from := int64(random.IntN(8))
		want, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: from, Topic: "t", Partition: 1}, &answer, kgo.DefaultDecompressor(), nil)
		require.NoError(t, want.Err)
		require.True(t, plain(&answer))
		var got []seen
		ended, err := batches(answer.RecordBatches, &kgo.Record{Topic: "t", Partition: 1}, from, kgo.DefaultDecompressor(), func(r *kgo.Record) error {
			got = append(got, see(r))
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, next, ended)
		require.Len(t, got, len(want.Records))
		for i, r := range want.Records {
			require.Equal(t, see(r), got[i])
		}
	}
}

func TestBatchesOfTransactionsAreLeftToFranzGo(t *testing.T) {
	raw, _ := batch(t, rand.New(rand.NewPCG(1, 1)), 0)
	for _, spoil := range []func([]byte){
		func(b []byte) { b[batchAttributes+1] |= transactional },
		func(b []byte) { b[batchMagic] = 1 },
		func(b []byte) { binary.BigEndian.PutUint32(b[batchLength:], 0) },
	} {
		spoiled := slices.Clone(raw)
		spoil(spoiled)
		require.False(t, plain(&kmsg.FetchResponseTopicPartition{RecordBatches: append(slices.Clone(raw), spoiled...)}))
	}
}

// Whatever the bytes are, reading them ends, and says so if they are no records.
func FuzzBatches(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 10 {
		raw, _ := batch(f, random, 0)
		f.Add(raw[batchRecords:], uint16(raw[batchAttributes+1]))
	}
	f.Fuzz(func(t *testing.T, records []byte, attributes uint16) {
		raw := make([]byte, batchRecords, batchRecords+len(records))
		raw = append(raw, records...)
		raw[batchMagic] = 2
		binary.BigEndian.PutUint32(raw[batchLength:], uint32(len(raw)-batchPrefix))
		binary.BigEndian.PutUint16(raw[batchAttributes:], attributes&(codecBits|logAppendTime))
		binary.BigEndian.PutUint32(raw[batchCRC:], crc32.Checksum(raw[batchAttributes:], castagnoli))
		_, err := batches(raw, &kgo.Record{}, 0, kgo.DefaultDecompressor(), func(*kgo.Record) error { return nil })
		if err != nil {
			require.ErrorAs(t, err, new(unreadable))
		}
	})
}
