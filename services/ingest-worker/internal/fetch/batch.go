package fetch

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

// The layout of a batch of format 2: its first offset, the length of the rest, the leader's
// epoch, the format's number, a checksum of everything after it, and further fields before
// the records.
const (
	lengthAt  = 8
	countedAt = 12 // the length counts from here
	magicAt   = 16
	crcAt     = 17
	checkedAt = 21 // the checksum covers from here
	recordsAt = 61

	// shortestBatch is enough of a batch to see its format.
	shortestBatch = magicAt + 1
)

const (
	codecMask         = 0x07
	logAppendTimeFlag = 0x08
	transactionFlag   = 0x10
	controlFlag       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batch is the header of a batch and what follows it, still compressed.
type batch struct {
	base          int64 // first offset
	last          int64 // last offset, whether or not that record still exists
	attributes    int16
	baseTimestamp int64 // ms; the records' timestamps are relative to it
	maxTimestamp  int64
	producer      int64 // -1: none
	count         int32 // of existing records
	payload       []byte
}

func (b *batch) codec() codec        { return codec(b.attributes & codecMask) }
func (b *batch) control() bool       { return b.attributes&controlFlag != 0 }
func (b *batch) transactional() bool { return b.attributes&transactionFlag != 0 }

func (b *batch) timestamp(delta int64) time.Time {
	ms := b.baseTimestamp + delta
	if b.attributes&logAppendTimeFlag != 0 {
		ms = b.maxTimestamp
	}
	if ms < 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// parseBatch reads the header of the batch at the beginning of data. For an incomplete
// batch ok is false and size is its size, or 0 if that is missing too. The error says why
// the batch cannot be read; only the offsets of b are valid then, and last is -1 if it is
// unknown.
func parseBatch(data []byte) (b batch, size int, ok bool, why error) {
	if len(data) < countedAt {
		return batch{}, 0, false, nil
	}
	b = batch{base: int64(binary.BigEndian.Uint64(data)), last: -1}
	length := int(int32(binary.BigEndian.Uint32(data[lengthAt:])))
	size = countedAt + length
	if size < shortestBatch {
		return b, 0, true, fmt.Errorf("its length of %d is impossible", length)
	}
	if size > len(data) {
		return b, size, false, nil
	}
	if magic := int8(data[magicAt]); magic != 2 {
		return b, 0, true, fmt.Errorf("it has message format %d, and only 2, of Kafka 0.11 and later, is supported", magic)
	}
	if size < recordsAt {
		return b, 0, true, fmt.Errorf("its length of %d is shorter than its header", length)
	}
	if is, said := crc32.Checksum(data[checkedAt:size], castagnoli), binary.BigEndian.Uint32(data[crcAt:]); is != said {
		return b, 0, true, fmt.Errorf("its checksum is %08x and should be %08x", is, said)
	}
	lastDelta := int32(binary.BigEndian.Uint32(data[checkedAt+2:]))
	b.attributes = int16(binary.BigEndian.Uint16(data[checkedAt:]))
	b.baseTimestamp = int64(binary.BigEndian.Uint64(data[checkedAt+6:]))
	b.maxTimestamp = int64(binary.BigEndian.Uint64(data[checkedAt+14:]))
	b.producer = int64(binary.BigEndian.Uint64(data[checkedAt+22:]))
	b.count = int32(binary.BigEndian.Uint32(data[checkedAt+36:]))
	b.payload = data[recordsAt:size:size]
	if b.base < 0 || lastDelta < 0 || b.base+int64(lastDelta) < b.base {
		return b, 0, true, fmt.Errorf("its offsets, %d and %d more, are impossible", b.base, lastDelta)
	}
	b.last = b.base + int64(lastDelta)
	if b.count < 0 || int64(b.count) > int64(lastDelta)+1 {
		return b, 0, true, fmt.Errorf("it says that it has %d records in %d offsets", b.count, int64(lastDelta)+1)
	}
	return b, size, true, nil
}

// abortedTransaction is where an aborted transaction begins.
type abortedTransaction struct {
	producer int64
	first    int64 // offset
}

// transactions finds the batches of aborted transactions, as the Java client does: the
// answer lists where the transactions begin, and a marker in the log ends them.
type transactions struct {
	ahead []abortedTransaction // by first offset
	open  map[int64]bool       // producers with an aborted transaction that has begun
}

func newTransactions(aborted []abortedTransaction) *transactions {
	ahead := slices.SortedFunc(slices.Values(aborted), func(a, b abortedTransaction) int { return cmp.Compare(a.first, b.first) })
	return &transactions{ahead: ahead, open: map[int64]bool{}}
}

// aborts reports whether the records of b belong to an aborted transaction. It must be
// called for all batches of an answer in order.
func (t *transactions) aborts(b *batch) (bool, error) {
	if b.producer < 0 {
		return false, nil
	}
	for len(t.ahead) > 0 && t.ahead[0].first <= b.last {
		t.open[t.ahead[0].producer] = true
		t.ahead = t.ahead[1:]
	}
	if !b.control() {
		return b.transactional() && t.open[b.producer], nil
	}
	abort, err := b.abortMarker()
	if abort {
		delete(t.open, b.producer)
	}
	return false, err
}

// abortMarker reports whether a control batch ends an aborted transaction. One whose
// marker was removed by compaction does not.
func (b *batch) abortMarker() (bool, error) {
	if b.count == 0 {
		return false, nil
	}
	if b.codec() != uncompressed {
		return false, fmt.Errorf("it is a control batch and compressed")
	}
	r, err := newRecordReader(context.Background(), b, defaultMaxRecordBytes, false, &memory{})
	if err != nil {
		return false, err
	}
	defer r.close()
	marker, err := r.next(context.Background(), b.base)
	if err != nil {
		return false, err
	}
	if len(marker.Key) < 4 {
		return false, fmt.Errorf("it is a control batch and its marker has no type")
	}
	const abortType = 0
	return binary.BigEndian.Uint16(marker.Key[2:]) == abortType, nil
}
