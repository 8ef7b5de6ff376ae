package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/compress/snappy"
	"github.com/stretchr/testify/require"
)

func TestRecordsOverTheLimitAreCut(t *testing.T) {
	const limit = 1000
	text := strings.Repeat("0123456789", 1<<17) // beyond every buffer on the way
	sum := func(n int) [32]byte { return sha256.Sum256([]byte(text[:n])) }
	header := func(n int) Header { return Header{Key: "h", Value: []byte(text[:n])} }
	for name, test := range map[string]struct {
		written rawRecord
		key     []byte
		value   []byte
		headers []Header
		cut     *Cut
	}{
		"fits":         {written: rawRecord{value: []byte(text[:limit])}, value: []byte(text[:limit])},
		"just over":    {written: rawRecord{value: []byte(text[:limit+1])}, value: []byte(text[:limit]), cut: &Cut{Size: limit + 1, KeySize: -1, SHA256: sum(limit + 1)}},
		"far over":     {written: rawRecord{value: []byte(text)}, value: []byte(text[:limit]), cut: &Cut{Size: int64(len(text)), KeySize: -1, SHA256: sum(len(text))}},
		"key":          {written: rawRecord{key: []byte(text), value: []byte("v")}, key: []byte(text[:limit]), value: []byte("v"), cut: &Cut{Size: 1, KeySize: int64(len(text)), SHA256: sha256.Sum256([]byte("v"))}},
		"key of null":  {written: rawRecord{key: []byte(text)}, key: []byte(text[:limit]), cut: &Cut{Size: -1, KeySize: int64(len(text))}},
		"headers":      {written: rawRecord{headers: []Header{header(1), header(len(text)), header(2)}}, headers: []Header{header(1)}, cut: &Cut{Size: -1, KeySize: -1, Headers: 2}},
		"many headers": {written: rawRecord{headers: make([]Header, 5000)}, headers: make([]Header, limit/headerCost), cut: &Cut{Size: -1, KeySize: -1, Headers: 5000 - limit/headerCost}},
		"null header":  {written: rawRecord{value: []byte(text), headers: []Header{{Key: "n"}}}, value: []byte(text[:limit]), headers: []Header{{Key: "n"}}, cut: &Cut{Size: int64(len(text)), KeySize: -1, SHA256: sum(len(text))}},
	} {
		for codec := compress.None; codec <= compress.Zstd; codec++ {
			t.Run(name+" "+codec.String(), func(t *testing.T) {
				cfg := testConfig()
				cfg.MaxRecordBytes = limit
				after := rawRecord{delta: 1, value: []byte("after")}
				a, _, err := newAnswer(cfg, 0, respond(nil, batchWith(0, test.written, after).with(codec).encode()))
				require.NoError(t, err)
				defer a.Release()
				records, err := drain(a)
				require.NoError(t, err)
				got := records[0]
				if test.key != nil { // a cut key of null and an empty one differ
					require.NotNil(t, got.Key)
				}
				require.Equal(t, test.key, got.Key)
				require.Equal(t, test.value, got.Value)
				require.Equal(t, test.headers, got.Headers)
				if test.cut != nil && test.cut.Size == -1 && test.written.value == nil {
					test.cut.SHA256 = [32]byte{}
				}
				require.Equal(t, test.cut, got.Cut)
				require.Equal(t, "after", string(records[1].Value))
			})
		}
	}
}

// bomb is a compressed batch of one record whose value is so many zeros.
func bomb(t *testing.T, codec compress.Compression, size int64) []byte {
	t.Helper()
	prefix := []byte{0, 0, 0, 1}
	prefix = binary.AppendVarint(prefix, size)
	prefix = append(binary.AppendVarint(nil, int64(len(prefix))+size+1), prefix...)
	var buffer bytes.Buffer
	w := codec.Codec().NewWriter(&buffer)
	zeros := make([]byte, 1<<20)
	_, err := w.Write(prefix)
	require.NoError(t, err)
	for size++; size > 0; size -= int64(len(zeros)) { // and no headers
		zeros = zeros[:min(size, int64(len(zeros)))]
		_, err = w.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return encodeBatch(rawBatch{producer: -1, count: 1, codec: codec}, buffer.Bytes())
}

// allocated is how many bytes f took from the heap, given back or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestBombsPassInBoundedMemory(t *testing.T) {
	const size = 128 << 20 // a gigabyte passes in the same memory, and takes a while
	for codec := compress.Gzip; codec <= compress.Zstd; codec++ {
		t.Run(codec.String(), func(t *testing.T) {
			b := bomb(t, codec, size)
			a := answerTo(t, 0, nil, b)
			var rec Record
			took := allocated(func() {
				var ok bool
				var err error
				rec, ok, err = a.Next(context.Background())
				require.NoError(t, err)
				require.True(t, ok)
			})
			require.EqualValues(t, size, rec.Cut.Size)
			require.Len(t, rec.Value, 1<<20)
			require.Less(t, took, uint64(40<<20))
			requireSeen(t, a, 1)
		})
	}
}

func TestLargeRecordsBeforeTheOffsetAreSkipped(t *testing.T) {
	large := make([]byte, 3<<20)
	b := batchWith(0, rawRecord{value: large}, rawRecord{delta: 1, value: []byte("b")}).with(compress.Zstd)
	requireSeen(t, answerTo(t, 1, nil, b.encode()), 2, seen{1, "b"})
}

func TestCancelInterruptsALargeRecord(t *testing.T) {
	a := answerTo(t, 0, nil, bomb(t, compress.Zstd, 1<<26))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err := a.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestSnappyOfASingleBlock(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 20<<20) // needs a wide window if it is one block
	for i := range value {
		if value[i] = byte(random.IntN(4)); i > 1<<20 && random.IntN(3) > 0 {
			value[i] = value[i-1<<20]
		}
	}
	for _, level := range []snappy.Compression{snappy.DefaultCompression, snappy.BetterCompression} {
		for _, framing := range []snappy.Framing{snappy.Framed, snappy.Unframed} {
			codec := &snappy.Codec{Framing: framing, Compression: level}
			b := batchWith(0, rawRecord{value: value}, rawRecord{delta: 1, value: []byte("after")}).with(compress.Snappy)
			var payload []byte
			if framing == snappy.Unframed {
				payload = unframed(t, codec, b.payload)
			} else {
				half := len(b.payload) / 2 // two framed streams, one after the other
				payload = append(compressed(codec, b.payload[:half]), compressed(codec, b.payload[half:])...)
			}
			records, err := drain(answerTo(t, 0, nil, encodeBatch(b, payload)))
			require.NoError(t, err)
			require.EqualValues(t, len(value), records[0].Cut.Size)
			require.Equal(t, sha256.Sum256(value), records[0].Cut.SHA256)
			require.Equal(t, "after", string(records[1].Value))
		}
	}
}

// What a block of snappy says of its size must not take all the memory.
func TestSnappyBlocksAreBounded(t *testing.T) {
	block := binary.AppendUvarint(nil, math.MaxUint32)
	b := batchOf(0, "a").with(compress.Snappy)
	for name, elements := range map[string][]byte{
		"ends":                     {0, 0},
		"refers before its start":  {0, 0, 1, 2},
		"refers to where it is":    {0, 0, 1, 0},
		"has a longer literal":     {63 << 2, 255, 255, 255, 255},
		"ends within a tag":        {61 << 2, 255},
		"has more than one record": {0, 0, 0, 0},
	} {
		took := allocated(func() {
			requireCorrupt(t, encodeBatch(b, slices.Concat(block, elements)), "snappy: the data is corrupt")
		})
		require.Less(t, took, uint64(1<<20), name)
	}
}

// A block without Java's framing holds a whole batch, and may be larger than what is
// decompressed as a whole.
func TestALargeBlockOfSnappyPassesInBoundedMemory(t *testing.T) {
	const size = 129 << 20
	one := batchWith(0, rawRecord{value: make([]byte, size)}, rawRecord{delta: 1, value: []byte("after")}).with(compress.Snappy)
	a := answerTo(t, 0, nil, encodeBatch(one, unframed(t, &snappy.Codec{Framing: snappy.Unframed}, one.payload)))
	var rec Record
	took := allocated(func() {
		var ok bool
		var err error
		rec, ok, err = a.Next(t.Context())
		require.NoError(t, err)
		require.True(t, ok)
	})
	require.Less(t, took, uint64(40<<20))
	require.EqualValues(t, size, rec.Cut.Size)
	require.Equal(t, sha256.Sum256(make([]byte, size)), rec.Cut.SHA256)
	requireSeen(t, a, 2, seen{1, "after"})
}

// unframed compresses data to one block, as kafka-go does if it gets it at once.
func unframed(t *testing.T, codec *snappy.Codec, data []byte) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := codec.NewWriter(&buffer)
	_, err := w.(io.ReaderFrom).ReadFrom(bytes.NewReader(data))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buffer.Bytes()
}

func zstdWith(t *testing.T, window int, data []byte) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w, err := zstd.NewWriter(&buffer, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	half := len(data) / 2
	for _, part := range [][]byte{data[:half], data[half:]} {
		_, err = w.Write(part)
		require.NoError(t, err)
		require.NoError(t, w.Flush()) // so the size isn't known, and the window is said
	}
	require.NoError(t, w.Close())
	return buffer.Bytes()
}

func TestWideZstdWindows(t *testing.T) {
	b := batchOf(0, "a", "b", "c").with(compress.Zstd)
	requireSeen(t, answerTo(t, 1, nil, encodeBatch(b, zstdWith(t, 128<<20, b.payload)), batchOf(3, "d").encode()), 4,
		seen{1, "b"}, seen{2, "c"}, seen{3, "d"})
	requireCorrupt(t, encodeBatch(b, zstdWith(t, 256<<20, b.payload)), "window")

	// The need for it can come late.
	records := appendRecords(nil, rawRecord{value: []byte("a")})
	two := append(zstdWith(t, 1<<20, b.payload[:len(records)]), zstdWith(t, 64<<20, b.payload[len(records):])...)
	requireSeen(t, answerTo(t, 0, nil, encodeBatch(b, two)), 3, seen{0, "a"}, seen{1, "b"}, seen{2, "c"})

	// One batch at a time has it, and the next waits for it.
	first := answerTo(t, 0, nil, encodeBatch(b, zstdWith(t, 16<<20, b.payload)))
	_, ok, err := first.Next(context.Background())
	require.NoError(t, err)
	require.True(t, ok)
	second := answerTo(t, 0, nil, encodeBatch(b, zstdWith(t, 16<<20, b.payload)))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err = second.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
	first.Release()
	requireSeen(t, answerTo(t, 0, nil, encodeBatch(b, zstdWith(t, 16<<20, b.payload))), 3, seen{0, "a"}, seen{1, "b"}, seen{2, "c"})
}

func TestCorruptStreams(t *testing.T) {
	for codec := compress.Gzip; codec <= compress.Zstd; codec++ {
		t.Run(codec.String(), func(t *testing.T) {
			b := batchOf(0, strings.Repeat("some text ", 100), "more").with(codec)
			good := compressed(codec.Codec(), b.payload)
			for cut := range good {
				a := answerTo(t, 0, nil, encodeBatch(b, good[:cut]))
				if records, err := drain(a); err == nil {
					require.Len(t, records, 2) // what was cut off is of no importance
				} else {
					require.ErrorAs(t, err, new(*CorruptBatchError))
				}
			}
			requireCorrupt(t, encodeBatch(b, good[:len(good)/2]), "")
			requireCorrupt(t, encodeBatch(b, []byte("not compressed at all, and long enough to see")), "")
			requireSeenAgain(t, encodeBatch(b, good)) // the decompressors are fit for use
		})
	}
}

func requireSeenAgain(t *testing.T, b []byte) {
	t.Helper()
	records, err := drain(answerTo(t, 0, nil, b))
	require.NoError(t, err)
	require.Len(t, records, 2)
}
