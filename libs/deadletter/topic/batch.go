package topic

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The record batches of a fetch, read without a copy of each record: what takes
// most of the time of looking through a topic. Batches of another form, and those
// of transactions, are for franz-go to read.

// Places in a batch.
const (
	batchLength     = 8
	batchMagic      = 16
	batchCRC        = 17
	batchAttributes = 21
	batchLastDelta  = 23
	batchFirstTime  = 27
	batchMaxTime    = 35
	batchRecords    = 61

	// batchPrefix is what comes before what the length counts.
	batchPrefix = 12
)

// Bits of a batch's attributes.
const (
	codecBits     = 0b111
	logAppendTime = 1 << 3
	transactional = 1 << 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errCRC       = errors.New("its checksum is wrong")
	errMalformed = errors.New("its records cannot be read")
)

// plain says whether all batches of an answer can be read here.
func plain(answer *kmsg.FetchResponseTopicPartition) bool {
	for rest := answer.RecordBatches; len(rest) >= batchRecords; {
		size := batchPrefix + int(int32(binary.BigEndian.Uint32(rest[batchLength:])))
		if rest[batchMagic] != 2 || binary.BigEndian.Uint16(rest[batchAttributes:])&transactional != 0 || size < batchRecords {
			return false
		}
		if size > len(rest) {
			break // cut off by the answer's end
		}
		rest = rest[size:]
	}
	return true
}

// batches hands out the records of an answer from an offset on. The record is the
// same one each time; its bytes, those of its headers' names too, are the
// answer's. next is where to go on.
func batches(answer []byte, record *kgo.Record, from int64, decompressor kgo.Decompressor, handle func(*kgo.Record) error) (next int64, err error) {
	next = from
	for len(answer) >= batchRecords {
		size := batchPrefix + int(int32(binary.BigEndian.Uint32(answer[batchLength:])))
		if size > len(answer) {
			break
		}
		batch := answer[:size]
		answer = answer[size:]
		first := int64(binary.BigEndian.Uint64(batch))
		end := first + int64(int32(binary.BigEndian.Uint32(batch[batchLastDelta:]))) + 1
		if end <= from {
			continue
		}
		if binary.BigEndian.Uint32(batch[batchCRC:]) != crc32.Checksum(batch[batchAttributes:], castagnoli) {
			return next, unreadable{errCRC}
		}
		if err := recordsOf(batch, first, record, from, decompressor, handle); err != nil {
			return next, err
		}
		next = max(next, end)
	}
	return next, nil
}

// unreadable is an error of the batch, not of who takes its records.
type unreadable struct{ error }

func recordsOf(batch []byte, first int64, record *kgo.Record, from int64, decompressor kgo.Decompressor, handle func(*kgo.Record) error) error {
	attributes := binary.BigEndian.Uint16(batch[batchAttributes:])
	records := batch[batchRecords:]
	if codec := kgo.CompressionCodecType(attributes & codecBits); codec != kgo.CodecNone {
		var err error
		if records, err = decompressor.Decompress(records, codec); err != nil {
			return unreadable{err}
		}
	}
	firstTime := int64(binary.BigEndian.Uint64(batch[batchFirstTime:]))
	for r := (cursor{data: records}); len(r.data) > 0; {
		body := cursor{data: r.take(r.varint())}
		body.take(1) // attributes, of which there are none
		millis := firstTime + body.varint()
		if attributes&logAppendTime != 0 {
			millis = int64(binary.BigEndian.Uint64(batch[batchMaxTime:]))
		}
		record.Offset = first + body.varint()
		record.Timestamp = time.UnixMilli(millis)
		record.Key, record.Value = body.bytes(), body.bytes()
		record.Headers = record.Headers[:0]
		for n := body.varint(); n > 0 && !body.bad; n-- {
			name := body.bytes()
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: unsafe.String(unsafe.SliceData(name), len(name)), Value: body.bytes()})
		}
		if r.bad || body.bad {
			return unreadable{errMalformed}
		}
		if record.Offset < from {
			continue
		}
		if err := handle(record); err != nil {
			return err
		}
	}
	return nil
}

// cursor reads what is in a batch. Once something was not there it is bad.
type cursor struct {
	data []byte
	bad  bool
}

func (c *cursor) varint() int64 {
	if len(c.data) > 0 && c.data[0] < 0x80 { // most are of one byte
		n := int64(c.data[0])
		c.data = c.data[1:]
		return n>>1 ^ -(n & 1)
	}
	n, size := binary.Varint(c.data)
	if size <= 0 {
		c.data, c.bad = nil, true
		return 0
	}
	c.data = c.data[size:]
	return n
}

// take gives so many bytes.
func (c *cursor) take(n int64) []byte {
	if n < 0 || n > int64(len(c.data)) {
		c.data, c.bad = nil, true
		return nil
	}
	taken := c.data[:n:n]
	c.data = c.data[n:]
	return taken
}

// bytes gives bytes with their length before them, or nil for null.
func (c *cursor) bytes() []byte {
	n := c.varint()
	if n == -1 {
		return nil
	}
	return c.take(n)
}
