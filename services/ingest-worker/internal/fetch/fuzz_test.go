package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
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
		require.GreaterOrEqual(t, max(rec.Cut.Size, 0), int64(len(rec.Value)))
		require.Equal(t, rec.Cut.Size < 0, rec.Value == nil)
		require.GreaterOrEqual(t, max(rec.Cut.KeySize, 0), int64(len(rec.Key)))
		require.Equal(t, rec.Cut.KeySize < 0, rec.Key == nil)
	}
}

// FuzzRecords compares the reading of a record with franz-go's, whose strictness
// differs: what both read must be equal, and what franz-go writes must be read.
func FuzzRecords(f *testing.F) {
	f.Add(rawRecord{key: []byte("key"), value: make([]byte, 100), headers: []Header{{"h", nil}, {"i", make([]byte, 100)}}}.body())
	f.Add(rawRecord{key: make([]byte, 100)}.body())
	f.Fuzz(func(t *testing.T, body []byte) {
		read := func(limit int) (Record, error) {
			payload := append(binary.AppendVarint(nil, int64(len(body))), body...)
			r, err := newRecordReader(context.Background(), &batch{base: 1 << 40, payload: payload}, limit, false, &memory{})
			require.NoError(t, err)
			rec, err := r.next(context.Background(), math.MinInt64)
			if err == nil {
				require.NoError(t, r.end(context.Background()))
			}
			return rec, err
		}
		whole, err := read(1 << 20)
		cut, cutErr := read(fuzzLimit)
		require.Equal(t, err, cutErr)
		var other kmsg.Record
		payload := append(binary.AppendVarint(nil, int64(len(body))), body...)
		otherErr := other.ReadFrom(payload)
		if err != nil {
			require.False(t, otherErr == nil && bytes.Equal(other.AppendTo(nil), payload) && plausible(&other), "franz-go reads it: %v", err)
			return
		}
		if otherErr != nil {
			return // of an offset that does not fit 32 bits, for instance
		}
		require.Equal(t, other.Key, whole.Key)
		require.Equal(t, other.Value, whole.Value)
		require.Equal(t, int64(1<<40)+int64(other.OffsetDelta), whole.Offset)
		require.Len(t, whole.Headers, len(other.Headers))
		for i, h := range other.Headers {
			require.Equal(t, Header{Key: h.Key, Value: h.Value}, whole.Headers[i])
		}
		require.True(t, bytes.HasPrefix(whole.Key, cut.Key) && bytes.HasPrefix(whole.Value, cut.Value))
		require.Equal(t, len(whole.Headers), len(cut.Headers)+dropped(cut))
		if cut.Cut != nil && whole.Value != nil {
			require.EqualValues(t, len(whole.Value), cut.Cut.Size)
			require.Equal(t, sha256.Sum256(whole.Value), cut.Cut.SHA256)
		}
	})
}

// plausible reports whether a record has no negative length that franz-go accepts.
func plausible(r *kmsg.Record) bool {
	for _, h := range r.Headers {
		if h.Key == "" {
			return false // or none at all
		}
	}
	return true
}

func dropped(r Record) int {
	if r.Cut == nil {
		return 0
	}
	return r.Cut.Headers
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
