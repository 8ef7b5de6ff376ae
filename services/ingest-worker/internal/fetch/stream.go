package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

const (
	windowBytes = 64 << 10 // read from the decompressor at once
	chunkBytes  = 256 << 10
	// extraBytes is what key and headers usually take beside a value.
	extraBytes = 4 << 10
)

// streamSource reads the records of a compressed batch while it is decompressed.
// Records of the usual size are copied as a whole into chunks of memory that they
// share; a longer one is read field by field, and only what is kept of it is ever
// in memory.
type streamSource struct {
	b      *batch
	limit  int
	stream decompressor
	*memory
	from  int // what was decompressed and not yet read is window[from:to]
	to    int
	ended error // what the decompressor said last
	left  int64 // bytes of the record that is read field by field
}

// memory is what the compressed batches of an answer use one after another. It is
// little where there is little to read.
type memory struct {
	window []byte
	chunk  []byte // the unused rest of the present chunk
	grow   int    // how large the next chunk is
}

func (m *memory) prepare(payload int) {
	guess := max(1<<10, 2*payload) // data mostly decompresses to twice its size or more
	if size := min(windowBytes, guess); len(m.window) < size {
		m.window = make([]byte, size)
	}
	m.grow = max(m.grow, min(chunkBytes, guess))
}

func newStreamSource(ctx context.Context, b *batch, limit int, wide bool, m *memory) (*streamSource, error) {
	stream, err := b.codec().open(ctx, b.payload, wide)
	if err != nil {
		return nil, err
	}
	m.prepare(len(b.payload))
	return &streamSource{b: b, limit: limit, stream: stream, memory: m}, nil
}

func (s *streamSource) close() { s.stream.close() }

func (s *streamSource) next(ctx context.Context, wanted int64) (Record, error) {
	s.left = 10 // no number is longer
	length, err := s.varint(ctx)
	switch {
	case err != nil:
		return Record{}, err
	case length < 0:
		return Record{}, errRecordLength
	case length > int64(s.limit)+extraBytes:
		s.left = length
		return s.long(ctx, wanted)
	}
	body, err := s.body(ctx, int(length))
	if err != nil {
		return Record{}, err
	}
	rec, err := parseRecord(body, s.b, s.limit)
	if err == nil && rec.Offset >= wanted {
		s.chunk = s.chunk[length:]
	}
	return rec, err
}

// body copies a record of the given length to the beginning of the chunk, where
// it is overwritten unless the chunk is moved on.
func (s *streamSource) body(ctx context.Context, length int) ([]byte, error) {
	if length > len(s.chunk) {
		s.chunk = make([]byte, max(length, s.grow))
		s.grow = min(chunkBytes, 2*s.grow)
	}
	body := s.chunk[:length:length]
	return body, s.full(ctx, body)
}

// full fills p from the stream.
func (s *streamSource) full(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		if s.from == s.to {
			if err := s.fill(ctx); err != nil {
				return unexpected(err)
			}
		}
		n := copy(p, s.window[s.from:s.to])
		s.from += n
		p = p[n:]
	}
	return nil
}

// fill reads from the decompressor into the window, which must be used up. The
// error is io.EOF at the end.
func (s *streamSource) fill(ctx context.Context) error {
	s.from, s.to = 0, 0
	for range 100 { // as io.ErrNoProgress elsewhere
		if s.ended != nil {
			return s.ended
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := s.stream.Read(s.window)
		s.to = n
		if err != nil && !errors.Is(err, io.EOF) {
			err = fmt.Errorf("%v: %w", s.b.codec(), err)
		}
		s.ended = err
		if n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

func (s *streamSource) end(ctx context.Context) error {
	if s.from < s.to {
		return errBatchLonger
	}
	switch err := s.fill(ctx); {
	case err == nil:
		return errBatchLonger
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// unexpected is what the end of the stream means within the records.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return errBatchEnds
	}
	return err
}

// long reads a record field by field and keeps of it what is within the limit. Of
// a record before wanted it keeps nothing.
func (s *streamSource) long(ctx context.Context, wanted int64) (Record, error) {
	if err := s.skip(ctx, 1); err != nil { // the attributes
		return Record{}, err
	}
	timestamp, err := s.varint(ctx)
	if err != nil {
		return Record{}, err
	}
	delta, err := s.varint(ctx)
	if err != nil {
		return Record{}, err
	}
	rec := Record{Offset: s.b.base + delta, Timestamp: s.b.timestamp(timestamp)}
	if rec.Offset < wanted {
		return rec, s.skip(ctx, s.left)
	}
	cut := Cut{}
	if rec.Key, cut.KeySize, _, err = s.field(ctx); err != nil {
		return Record{}, err
	}
	if rec.Value, cut.Size, cut.SHA256, err = s.field(ctx); err != nil {
		return Record{}, err
	}
	if cut.Headers, err = s.headers(ctx, &rec); err != nil {
		return Record{}, err
	}
	if s.left > 0 {
		return Record{}, errRecordLonger
	}
	if max(cut.KeySize, cut.Size) > int64(s.limit) || cut.Headers > 0 {
		rec.Cut = &cut
	}
	return rec, nil
}

// field reads a key or a value: its bytes up to the limit, its size, -1 for null,
// and the hash of the whole.
func (s *streamSource) field(ctx context.Context) (kept []byte, size int64, sum [32]byte, err error) {
	size, err = s.varint(ctx)
	if err != nil || size < 0 {
		return nil, -1, sum, err
	}
	if size > s.left {
		return nil, 0, sum, errRecordEnds
	}
	kept = make([]byte, min(size, int64(s.limit)))
	if err = s.full(ctx, kept); err != nil {
		return nil, 0, sum, err
	}
	s.left -= int64(len(kept))
	hash := sha256.New()
	hash.Write(kept)
	err = s.each(ctx, size-int64(len(kept)), func(part []byte) { hash.Write(part) })
	hash.Sum(sum[:0])
	return kept, size, sum, err
}

// headers is as fields.headers, for a record that is not in memory.
func (s *streamSource) headers(ctx context.Context, rec *Record) (dropped int, err error) {
	count, err := s.varint(ctx)
	if err != nil {
		return 0, err
	}
	if count < 0 {
		return 0, errHeaderCount
	}
	if count > s.left/2 {
		return 0, errRecordEnds
	}
	room := headerRoom(s.limit)
	for range count {
		keySize, key, err := s.part(ctx, room)
		if err != nil {
			return 0, err
		}
		if keySize < 0 {
			return 0, errHeaderKey
		}
		valueSize, value, err := s.part(ctx, room)
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

// part reads a key or a value of a header, and keeps nothing of one that has no
// room.
func (s *streamSource) part(ctx context.Context, room headerRoom) (size int64, kept []byte, err error) {
	size, err = s.varint(ctx)
	switch {
	case err != nil || size < 0:
		return -1, nil, err
	case size > s.left:
		return 0, nil, errRecordEnds
	case size > int64(room):
		return size, nil, s.skip(ctx, size)
	}
	kept = make([]byte, size)
	s.left -= size
	return size, kept, s.full(ctx, kept)
}

func (s *streamSource) skip(ctx context.Context, n int64) error {
	return s.each(ctx, n, func([]byte) {})
}

// each gives the next n bytes of the record to use, part by part.
func (s *streamSource) each(ctx context.Context, n int64, use func([]byte)) error {
	if n > s.left {
		return errRecordEnds
	}
	s.left -= n
	for n > 0 {
		if s.from == s.to {
			if err := s.fill(ctx); err != nil {
				return unexpected(err)
			}
		}
		part := s.window[s.from:min(int64(s.to), int64(s.from)+n)]
		use(part)
		s.from += len(part)
		n -= int64(len(part))
	}
	return nil
}

// varint reads a number from the stream and takes it off what is left of the
// record.
func (s *streamSource) varint(ctx context.Context) (int64, error) {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		if s.left == 0 {
			return 0, errRecordEnds
		}
		if s.from == s.to {
			if err := s.fill(ctx); err != nil {
				return 0, unexpected(err)
			}
		}
		b := s.window[s.from]
		s.from++
		s.left--
		if shift == 63 && b > 1 {
			return 0, errVarint
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int64(v>>1) ^ -int64(v&1), nil
		}
	}
}
