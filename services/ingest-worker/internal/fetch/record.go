package fetch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"
)

// Record is one record. Key, Value and the headers' values are nil if they are null
// in Kafka, and empty but not nil if they are empty. Records share blocks of memory of
// up to 256 KiB with their neighbours, so they must not be changed.
type Record struct {
	Offset    int64
	Timestamp time.Time // to the millisecond; zero if the record has none
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

// Cut says what is missing from a record that is larger than [Config.MaxRecordBytes].
type Cut struct {
	Size    int64    // of the whole value in bytes, -1 for null; Value has the first MaxRecordBytes
	SHA256  [32]byte // of the whole value; zero for null
	KeySize int64    // of the whole key in bytes, -1 for null; Key has the first MaxRecordBytes
	Headers int      // how many of the last headers were dropped
}

// headerCost is what a header takes in memory besides its bytes. Counting it keeps
// millions of empty headers from filling the memory.
const headerCost = 64

// Reasons why a record cannot be read, for CorruptBatchError.Err.
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
	errRecordSequence = errors.New("the records' offsets do not increase")
)

const (
	windowBytes = 64 << 10 // read from the decompressor at once
	chunkBytes  = 256 << 10
)

// memory is what the batches of an answer use one after another. It is small if there
// is little to read.
type memory struct {
	window *bufio.Reader
	chunk  []byte // the unused rest of the present chunk
	grow   int    // the size of the next chunk
}

func (m *memory) prepare(payload int) {
	guess := max(1<<10, 2*payload) // data usually decompresses to twice its size or more
	if size := min(windowBytes, guess); m.window == nil || m.window.Size() < size {
		m.window = bufio.NewReaderSize(nil, size)
	}
	m.grow = max(m.grow, min(chunkBytes, guess))
}

func (m *memory) take(n int) []byte {
	if n == 0 {
		return []byte{} // not nil, even if there is no chunk
	}
	if n > len(m.chunk) {
		if n > chunkBytes/4 {
			return make([]byte, n)
		}
		m.chunk = make([]byte, max(n, m.grow))
		m.grow = min(chunkBytes, 2*m.grow)
	}
	taken := m.chunk[:n:n]
	m.chunk = m.chunk[n:]
	return taken
}

// recordReader reads the records of one batch while it is decompressed, and keeps of
// each what is within the limit.
type recordReader struct {
	b      *batch
	limit  int
	stream decompressor
	ctx    context.Context // of the present call
	left   int64           // bytes of the present record that are not read yet
	*memory
}

func newRecordReader(ctx context.Context, b *batch, limit int, wide bool, m *memory) (*recordReader, error) {
	stream, err := b.codec().open(ctx, b.payload, wide)
	if err != nil {
		return nil, err
	}
	m.prepare(len(b.payload))
	r := &recordReader{b: b, limit: limit, stream: stream, ctx: ctx, memory: m}
	m.window.Reset(r)
	return r, nil
}

// Read decompresses into the window, unless the context of the present call has ended.
func (r *recordReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.stream.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%v: %w", r.b.codec(), err)
	}
	return n, err
}

func (r *recordReader) close() { r.stream.close() }

// end is called after the last record and returns an error if the batch goes on.
func (r *recordReader) end(ctx context.Context) error {
	r.ctx = ctx
	switch _, err := r.window.ReadByte(); {
	case err == nil:
		return errBatchLonger
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// next reads a record. Of a record before wanted it returns only the offset.
func (r *recordReader) next(ctx context.Context, wanted int64) (Record, error) {
	r.ctx = ctx
	r.left = 10 // no number is longer
	length, err := r.varint()
	switch {
	case err != nil:
		return Record{}, err
	case length < 0:
		return Record{}, errRecordLength
	}
	r.left = length
	return r.record(wanted)
}

func (r *recordReader) record(wanted int64) (rec Record, err error) {
	if err := r.skip(1); err != nil { // the attributes, which have no meaning yet
		return Record{}, err
	}
	timestamp, err := r.varint()
	if err != nil {
		return Record{}, err
	}
	delta, err := r.varint()
	if err != nil {
		return Record{}, err
	}
	rec.Offset, rec.Timestamp = r.b.base+delta, r.b.timestamp(timestamp)
	if rec.Offset < wanted {
		return rec, r.skip(r.left)
	}
	var cut Cut
	if rec.Key, cut.KeySize, _, err = r.field(); err != nil {
		return Record{}, err
	}
	if rec.Value, cut.Size, cut.SHA256, err = r.field(); err != nil {
		return Record{}, err
	}
	if cut.Headers, err = r.headers(&rec); err != nil {
		return Record{}, err
	}
	if r.left > 0 {
		return Record{}, errRecordLonger
	}
	limit := int64(r.limit)
	if cut.KeySize > limit || cut.Size > limit || cut.Headers > 0 {
		if 0 <= cut.Size && cut.Size <= limit {
			cut.SHA256 = sha256.Sum256(rec.Value)
		}
		rec.Cut = new(cut)
	}
	return rec, nil
}

// field reads a key or a value: its bytes up to the limit, its size, -1 for null, and,
// if it is over the limit, the hash of the whole.
func (r *recordReader) field() (kept []byte, size int64, sum [32]byte, err error) {
	size, err = r.varint()
	switch {
	case err != nil || size < 0:
		return nil, -1, sum, err
	case size > r.left:
		return nil, 0, sum, errRecordEnds
	}
	kept, err = r.keep(min(size, int64(r.limit)))
	if err != nil || size <= int64(r.limit) {
		return kept, size, sum, err
	}
	sum, err = r.hash(kept, size-int64(len(kept)))
	return kept, size, sum, err
}

// hash returns the hash over the beginning of a field and the next n bytes.
func (r *recordReader) hash(beginning []byte, n int64) ([32]byte, error) {
	hash := sha256.New()
	hash.Write(beginning)
	_, err := io.CopyN(hash, r.window, n)
	r.left -= n
	return [32]byte(hash.Sum(nil)), batchEnd(err)
}

// headers adds those headers to the record that fit and returns the number of those
// that do not.
func (r *recordReader) headers(rec *Record) (dropped int, err error) {
	count, err := r.varint()
	switch {
	case err != nil || count == 0:
		return 0, err
	case count < 0:
		return 0, errHeaderCount
	case count > r.left/2: // each takes two bytes or more
		return 0, errRecordEnds
	}
	room := headerRoom(r.limit)
	rec.Headers = make([]Header, 0, min(int(count), r.limit/headerCost))
	for range count {
		keySize, key, err := r.headerPart(room)
		if err != nil {
			return 0, err
		}
		if keySize < 0 {
			return 0, errHeaderKey
		}
		valueSize, value, err := r.headerPart(room)
		if err != nil {
			return 0, err
		}
		if !room.take(keySize, valueSize) {
			dropped++
			continue
		}
		rec.Headers = append(rec.Headers, Header{Key: string(key), Value: value})
	}
	return dropped, nil
}

// headerPart reads a header's key or value, and keeps nothing of one that has no room.
func (r *recordReader) headerPart(room headerRoom) (size int64, kept []byte, err error) {
	size, err = r.varint()
	switch {
	case err != nil || size < 0:
		return -1, nil, err
	case size > r.left:
		return 0, nil, errRecordEnds
	case size > int64(room):
		return size, nil, r.skip(size)
	}
	kept, err = r.keep(size)
	return size, kept, err
}

// headerRoom is how many bytes the headers of one record may still take.
type headerRoom int64

// take reports whether a header fits. After one that does not, none does: the first
// headers are kept.
func (r *headerRoom) take(key, value int64) bool {
	cost := headerRoom(headerCost + key + max(value, 0))
	if *r < cost {
		*r = -1
		return false
	}
	*r -= cost
	return true
}

// keep reads the next n bytes of the record, which has them.
func (r *recordReader) keep(n int64) ([]byte, error) {
	kept := r.take(int(n))
	_, err := io.ReadFull(r.window, kept)
	r.left -= n
	return kept, batchEnd(err)
}

func (r *recordReader) skip(n int64) error {
	if n > r.left {
		return errRecordEnds
	}
	r.left -= n
	_, err := r.window.Discard(int(n))
	return batchEnd(err)
}

func (r *recordReader) varint() (int64, error) {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		if r.left == 0 {
			return 0, errRecordEnds
		}
		b, err := r.window.ReadByte()
		if err != nil {
			return 0, batchEnd(err)
		}
		r.left--
		if shift == 63 && b > 1 {
			return 0, errVarint
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int64(v>>1) ^ -int64(v&1), nil
		}
	}
}

// batchEnd is what the end of the data means within a record.
func batchEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBatchEnds
	}
	return err
}
