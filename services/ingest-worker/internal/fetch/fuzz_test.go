package fetch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"
)

// fuzzLimit is a MaxRecordBytes that fuzzing reaches easily.
const fuzzLimit = 64

// fuzzMemory is what an answer may allocate beside a multiple of its own size:
// the decompressors.
const fuzzMemory = 64 << 20

// FuzzAnswer reads whatever comes as an answer's records. The checksums are made
// right first, so that what is behind them is reached.
func FuzzAnswer(f *testing.F) {
	headers := []Header{{"name", []byte("value")}, {"null", nil}}
	records := []rawRecord{{key: []byte("key"), value: []byte("value"), headers: headers}, {delta: 2, value: bytes.Repeat([]byte("long "), 2000)}}
	for codec := compress.None; codec <= compress.Zstd; codec++ {
		f.Add(batchWith(5, records...).with(codec).encode(), int64(6))
	}
	f.Add(append(batchOf(0, "a", "x").by(1).encode(), marker(2, 1, false).encode()...), int64(0))
	f.Fuzz(func(t *testing.T, data []byte, offset int64) {
		offset = max(offset, 0)
		sealAll(data)
		cfg := testConfig()
		cfg.MaxRecordBytes = fuzzLimit
		aborted := []abortedTransaction{{producer: 1, first: 0}}
		took := allocated(func() {
			a, short, err := newAnswer(cfg, offset, respond(aborted, data))
			if err != nil || short > 0 {
				requireKnown(t, err)
				return
			}
			defer a.Release()
			_, err = readAll(t, a, offset)
			requireKnown(t, err)
		})
		require.Less(t, took, uint64(fuzzMemory+1000*len(data)))
	})
}

// sealAll writes the right checksum into all batches, as far as there are some.
func sealAll(data []byte) {
	for {
		_, size, ok, err := parseBatch(data)
		if size == 0 && err != nil && len(data) >= recordsAt { // the checksum is wrong, or more is
			size = countedAt + int(int32(binary.BigEndian.Uint32(data[lengthAt:])))
			ok = true
		}
		if !ok || size < recordsAt || size > len(data) {
			return
		}
		seal(data[:size])
		data = data[size:]
	}
}

func requireKnown(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.As(err, new(*CorruptBatchError)) && !errors.As(err, new(*TooLargeError)) {
		t.Fatalf("unknown error %v", err)
	}
}

// readAll reads an answer and checks what holds for each.
func readAll(t *testing.T, a *Answer, offset int64) (n int, err error) {
	t.Helper()
	require.GreaterOrEqual(t, a.NextOffset(), offset)
	before := offset - 1
	for {
		rec, ok, err := a.Next(context.Background())
		if !ok || err != nil {
			return n, err
		}
		n++
		require.Greater(t, rec.Offset, before)
		require.Less(t, rec.Offset, a.NextOffset())
		before = rec.Offset
		require.LessOrEqual(t, len(rec.Key), fuzzLimit)
		require.LessOrEqual(t, len(rec.Value), fuzzLimit)
		require.LessOrEqual(t, len(rec.Headers), fuzzLimit/headerCost)
		if rec.Cut == nil {
			continue
		}
		require.GreaterOrEqual(t, rec.Cut.Size, size(rec.Value))
		require.GreaterOrEqual(t, rec.Cut.KeySize, size(rec.Key))
	}
}

// FuzzRecords compares the two ways to read a record: in memory, and field by
// field from a stream.
func FuzzRecords(f *testing.F) {
	f.Add(rawRecord{key: []byte("key"), value: make([]byte, 100), headers: []Header{{"h", nil}, {"i", make([]byte, 100)}}}.body())
	f.Add(rawRecord{key: make([]byte, 100)}.body())
	f.Fuzz(func(t *testing.T, body []byte) {
		b := &batch{base: 1 << 40, attributes: int16(lz4Codec)}
		plain, plainErr := parseRecord(body, b, fuzzLimit)
		s := &streamSource{b: b, limit: fuzzLimit, left: int64(len(body)), memory: &memory{window: make([]byte, 7)}}
		s.stream = decompressor{Reader: bytes.NewReader(body), close: func() {}}
		streamed, err := s.long(context.Background(), math.MinInt64)
		require.Equal(t, plainErr == nil, err == nil, "%v, %v", plainErr, err)
		if err != nil {
			return
		}
		if len(plain.Headers) == 0 { // nil or not has no meaning here
			plain.Headers, streamed.Headers = nil, nil
		}
		require.Equal(t, plain, streamed)
	})
}

// FuzzSnappy compares decompressing piece by piece with the library's way.
func FuzzSnappy(f *testing.F) {
	var pieces snappyPieces // whose memory is large and used again
	f.Add(snappy.Encode(nil, []byte("a block that repeats, that repeats, that repeats")))
	f.Add(snappy.Encode(nil, bytes.Repeat([]byte("0123456789abcdef"), 10_000)))
	f.Fuzz(func(t *testing.T, block []byte) {
		length, err := snappy.DecodedLen(block)
		if err != nil || length > 1<<20 || length == 0 {
			return
		}
		want, wantErr := snappy.Decode(nil, block)
		_, n := binary.Uvarint(block)
		pieces.reset(block[n:], int64(length))
		var got []byte
		for pieces.left > 0 && err == nil {
			var piece []byte
			piece, err = pieces.next()
			got = append(got, piece...)
		}
		if err == nil && len(pieces.data) > 0 {
			err = errSnappy
		}
		require.Equal(t, wantErr == nil, err == nil, "%v, %v", wantErr, err)
		if err == nil {
			require.Equal(t, want, got)
		}
	})
}

// FuzzResponse reads whatever comes as a broker's answer.
func FuzzResponse(f *testing.F) {
	for version := int16(oldestFetch); version <= newestFetch; version++ {
		f.Add(append([]byte{0, 0, 0, 1}, wireAnswer(f, version, nil, batchOf(100, "a").encode())...), version)
	}
	f.Fuzz(func(t *testing.T, data []byte, version int16) {
		version = oldestFetch + (version&0x7fff)%(newestFetch-oldestFetch+1)
		r, err := parseResponse(data, version, 1, testConfig())
		if err == nil {
			require.LessOrEqual(t, len(r.records)+16*len(r.aborted), len(data))
		} else {
			require.NotErrorIs(t, err, io.EOF)
		}
	})
}
