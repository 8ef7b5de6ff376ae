package fetch

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"
)

// The builders here make batches by hand, with whatever is wrong or rare in them.

const testTime = int64(1_700_000_000_123) // ms

// rawRecord is a record as it is in a batch, with its offset relative to it.
type rawRecord struct {
	delta      int64
	key, value []byte
	headers    []Header
}

func (r rawRecord) body() []byte {
	b := []byte{0}                      // attributes
	b = binary.AppendVarint(b, r.delta) // timestamp: a millisecond an offset
	b = binary.AppendVarint(b, r.delta)
	b = appendBytes(b, r.key)
	b = appendBytes(b, r.value)
	b = binary.AppendVarint(b, int64(len(r.headers)))
	for _, h := range r.headers {
		b = appendBytes(b, []byte(h.Key))
		b = appendBytes(b, h.Value)
	}
	return b
}

func appendBytes(b, field []byte) []byte {
	if field == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(field))), field...)
}

func appendRecords(b []byte, records ...rawRecord) []byte {
	for _, r := range records {
		body := r.body()
		b = append(binary.AppendVarint(b, int64(len(body))), body...)
	}
	return b
}

// rawBatch is a batch before it is encoded.
type rawBatch struct {
	base       int64
	lastDelta  int32
	attributes int16 // without the codec
	codec      compress.Compression
	producer   int64
	count      int32
	payload    []byte // not compressed
}

// batchOf makes a batch of records with the values.
func batchOf(base int64, values ...string) rawBatch {
	records := make([]rawRecord, len(values))
	for i, v := range values {
		records[i] = rawRecord{delta: int64(i), value: []byte(v)}
	}
	return batchWith(base, records...)
}

func batchWith(base int64, records ...rawRecord) rawBatch {
	b := rawBatch{base: base, producer: -1, count: int32(len(records)), payload: appendRecords(nil, records...)}
	if len(records) > 0 {
		b.lastDelta = int32(records[len(records)-1].delta)
	}
	return b
}

func (r rawBatch) with(c compress.Compression) rawBatch { r.codec = c; return r }

func (r rawBatch) endingAt(last int64) rawBatch { r.lastDelta = int32(last - r.base); return r }

func (r rawBatch) by(producer int64) rawBatch {
	r.producer = producer
	r.attributes |= transactionFlag
	return r
}

// marker ends a transaction.
func marker(offset, producer int64, commit bool) rawBatch {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	b := batchWith(offset, rawRecord{key: key, value: []byte{0, 0, 0, 0, 0, 0}}).by(producer)
	b.attributes |= controlFlag
	return b
}

func (r rawBatch) encode() []byte {
	payload := r.payload
	if codec := r.codec.Codec(); codec != nil {
		payload = compressed(codec, payload)
	}
	return encodeBatch(r, payload)
}

func compressed(codec compress.Codec, data []byte) []byte {
	var buffer bytes.Buffer
	w := codec.NewWriter(&buffer)
	_, err := w.Write(data)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return buffer.Bytes()
}

// encodeBatch puts a header before a payload that is compressed already.
func encodeBatch(r rawBatch, payload []byte) []byte {
	be := binary.BigEndian
	b := be.AppendUint64(nil, uint64(r.base))
	b = be.AppendUint32(b, uint32(recordsAt-countedAt+len(payload)))
	b = be.AppendUint32(b, 7) // leader's epoch
	b = append(b, 2)
	b = be.AppendUint32(b, 0) // checksum
	b = be.AppendUint16(b, uint16(r.attributes|int16(r.codec)))
	b = be.AppendUint32(b, uint32(r.lastDelta))
	b = be.AppendUint64(b, uint64(testTime))
	b = be.AppendUint64(b, uint64(testTime+int64(r.lastDelta)))
	b = be.AppendUint64(b, uint64(r.producer))
	b = be.AppendUint16(b, 0)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint32(b, uint32(r.count))
	b = append(b, payload...)
	return seal(b)
}

// seal writes the right checksum into a batch.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[checkedAt:], castagnoli))
	return b
}

func testConfig() Config {
	return NewReader(Config{Topic: "orders", Partition: 3, MaxRecordBytes: 1 << 20}).cfg
}

// answerTo is the answer that has the batches as its records.
func answerTo(tb testing.TB, offset int64, aborted []abortedTransaction, batches ...[]byte) *Answer {
	tb.Helper()
	a, short, err := newAnswer(testConfig(), offset, respond(aborted, batches...))
	require.NoError(tb, err)
	require.Zero(tb, short)
	tb.Cleanup(a.Release)
	return a
}

func respond(aborted []abortedTransaction, batches ...[]byte) *response {
	return &response{aborted: aborted, records: bytes.Join(batches, nil), release: func() {}}
}

// drain reads an answer to its end.
func drain(a *Answer) (records []Record, err error) {
	for {
		rec, ok, err := a.Next(context.Background())
		if err != nil || !ok {
			return records, err
		}
		records = append(records, rec)
	}
}

// seen is what a record shows of itself in tests: its offset and value.
type seen struct {
	offset int64
	value  string
}

func requireSeen(t *testing.T, a *Answer, next int64, want ...seen) {
	t.Helper()
	records, err := drain(a)
	require.NoError(t, err)
	var got []seen
	for _, r := range records {
		require.Nil(t, r.Cut)
		got = append(got, seen{r.Offset, string(r.Value)})
	}
	require.Equal(t, want, got)
	require.Equal(t, next, a.NextOffset())
}
