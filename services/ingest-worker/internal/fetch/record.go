package fetch

import (
	"crypto/sha256"
	"errors"
	"time"
)

// Record is one record. Key, Value and the headers' values are nil where they are
// null in Kafka, and empty but not nil where they are empty. They share memory
// with other records and must not be changed; a record that is kept keeps some
// of its neighbours in memory, up to a whole answer.
type Record struct {
	Offset    int64
	Timestamp time.Time // to the millisecond; zero where the record has none
	Key       []byte
	Value     []byte
	Headers   []Header
	Cut       *Cut // nil for a record that is whole
}

// Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Cut says what is missing of a record that is larger than
// [Config.MaxRecordBytes].
type Cut struct {
	Size    int64    // of the whole value in bytes, -1 for null; Value has the first MaxRecordBytes
	SHA256  [32]byte // of the whole value; zero for null
	KeySize int64    // of the whole key in bytes, -1 for null; Key has the first MaxRecordBytes
	Headers int      // how many of the last headers were dropped
}

// headerCost is what a header takes in memory beside its bytes. Counting it keeps
// millions of empty headers from filling the memory.
const headerCost = 64

// Reasons why a record cannot be read. They end up in CorruptBatchError.Err.
var (
	errRecordEnds     = errors.New("a record's fields reach past its end")
	errRecordLonger   = errors.New("a record is longer than its fields")
	errRecordLength   = errors.New("a record's length is negative")
	errHeaderCount    = errors.New("a record has a negative number of headers")
	errHeaderKey      = errors.New("a header has no key")
	errVarint         = errors.New("a number is too long")
	errBatchEnds      = errors.New("the batch ends within its records")
	errBatchLonger    = errors.New("the batch holds more than its records")
	errRecordOffset   = errors.New("a record's offset is outside of its batch")
	errRecordSequence = errors.New("the records' offsets do not rise")
)

// fields reads the numbers and byte strings that a record in memory is made of.
// After an error it gives zeros.
type fields struct {
	b   []byte
	i   int
	err error
}

func (f *fields) varint() int64 {
	if f.i < len(f.b) && f.b[f.i] < 0x80 { // nearly all are this short
		v := int64(f.b[f.i])
		f.i++
		return v>>1 ^ -(v & 1)
	}
	var v uint64
	for shift := uint(0); f.i < len(f.b); shift += 7 {
		b := f.b[f.i]
		f.i++
		if shift == 63 && b > 1 {
			f.fail(errVarint)
			return 0
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int64(v>>1) ^ -int64(v&1)
		}
	}
	f.fail(errRecordEnds)
	return 0
}

// bytes gives the next byte string without copying it; nil for a negative length.
func (f *fields) bytes() []byte {
	n := f.varint()
	if n < 0 || f.err != nil {
		return nil
	}
	if n > int64(len(f.b)-f.i) {
		f.fail(errRecordEnds)
		return nil
	}
	from := f.i
	f.i += int(n)
	return f.b[from:f.i:f.i]
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
	f.i = len(f.b)
}

// parseRecord reads a record that lies in memory as a whole, without the length
// before it, and cuts what is over the limit.
func parseRecord(body []byte, b *batch, limit int) (Record, error) {
	f := fields{b: body}
	if len(body) == 0 {
		return Record{}, errRecordEnds
	}
	f.i = 1 // the attributes, which have no meaning yet
	timestamp := f.varint()
	delta := f.varint()
	rec := Record{Offset: b.base + delta, Timestamp: b.timestamp(timestamp)}
	rec.Key = f.bytes()
	rec.Value = f.bytes()
	dropped := f.headers(&rec, limit)
	switch {
	case f.err != nil:
		return Record{}, f.err
	case f.i != len(body):
		return Record{}, errRecordLonger
	}
	if len(rec.Key) > limit || len(rec.Value) > limit || dropped > 0 {
		cutRecord(&rec, limit, dropped)
	}
	return rec, nil
}

// headers adds those headers to the record that fit and gives the number of those
// that don't.
func (f *fields) headers(rec *Record, limit int) (dropped int) {
	count := f.varint()
	if count == 0 || f.err != nil {
		return 0
	}
	if count < 0 {
		f.fail(errHeaderCount)
		return 0
	}
	if count > int64(len(f.b)-f.i)/2 { // each takes two bytes or more
		f.fail(errRecordEnds)
		return 0
	}
	room := headerRoom(limit)
	rec.Headers = make([]Header, 0, min(int(count), limit/headerCost))
	for range count {
		key := f.bytes()
		if key == nil && f.err == nil {
			f.fail(errHeaderKey)
		}
		value := f.bytes()
		if f.err != nil {
			return 0
		}
		if !room.take(int64(len(key)), int64(len(value))) {
			dropped++
			continue
		}
		rec.Headers = append(rec.Headers, Header{Key: string(key), Value: value})
	}
	return dropped
}

// headerRoom is how many bytes the headers of one record may still take.
type headerRoom int64

// take says whether a header fits. After one that doesn't, none does: the headers
// that are kept are the first ones.
func (r *headerRoom) take(key, value int64) bool {
	cost := headerRoom(headerCost + key + max(value, 0))
	if *r < cost {
		*r = -1
		return false
	}
	*r -= cost
	return true
}

func cutRecord(rec *Record, limit, dropped int) {
	rec.Cut = &Cut{Size: size(rec.Value), KeySize: size(rec.Key), Headers: dropped}
	if rec.Value != nil {
		rec.Cut.SHA256 = sha256.Sum256(rec.Value)
		rec.Value = rec.Value[:min(len(rec.Value), limit)]
	}
	if rec.Key != nil {
		rec.Key = rec.Key[:min(len(rec.Key), limit)]
	}
}

func size(b []byte) int64 {
	if b == nil {
		return -1
	}
	return int64(len(b))
}
