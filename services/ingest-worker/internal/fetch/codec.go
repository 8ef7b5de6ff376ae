package fetch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// codec is how a batch's records are compressed, by the number that is in its
// attributes.
type codec int8

const (
	uncompressed codec = iota
	gzipCodec
	snappyCodec
	lz4Codec
	zstdCodec
)

func (c codec) String() string {
	if names := [...]string{"uncompressed", "gzip", "snappy", "lz4", "zstd"}; int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("codec %d", int8(c))
}

// A zstd stream says how much of its decompressed data must be kept. Up to narrowWindow
// that is always done. Up to wideWindow, the most that brokers and zstd's reference
// implementation accept, it is done for one batch of the process at a time.
const (
	narrowWindow = 8 << 20
	wideWindow   = 128 << 20
)

var wideSlot = make(chan struct{}, 1)

// needsWide reports whether reading failed for lack of a wide window.
func needsWide(err error) bool {
	return errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded)
}

// decompressor is a stream of decompressed bytes. Its memory is bounded: gzip takes
// 32 KiB, lz4 16 MiB at most, snappy 32 MiB, and zstd as said above.
type decompressor struct {
	io.Reader
	close func()
}

// Decompressors are large, so they are reused.
var (
	gzipPool   = sync.Pool{New: func() any { return new(gzip.Reader) }}
	snappyPool = sync.Pool{New: func() any { return new(snappyReader) }}
	lz4Pool    = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
	zstdPool   = sync.Pool{New: func() any { return newZstd(narrowWindow) }}
)

// open begins to decompress data. With wide it waits for its turn and decompresses
// what otherwise gives an error that needsWide reports.
func (c codec) open(ctx context.Context, data []byte, wide bool) (decompressor, error) {
	if !wide {
		return c.decompress(data, false)
	}
	select {
	case wideSlot <- struct{}{}:
	case <-ctx.Done():
		return decompressor{}, ctx.Err()
	}
	d, err := c.decompress(data, true)
	if err != nil {
		<-wideSlot
		return d, err
	}
	return decompressor{d.Reader, func() { d.close(); <-wideSlot }}, nil
}

func (c codec) decompress(data []byte, wide bool) (decompressor, error) {
	source := bytes.NewReader(data)
	switch c {
	case uncompressed:
		return decompressor{source, func() {}}, nil
	case gzipCodec:
		r := gzipPool.Get().(*gzip.Reader)
		if err := r.Reset(source); err != nil {
			gzipPool.Put(r)
			return decompressor{}, fmt.Errorf("gzip: %w", err)
		}
		return decompressor{r, func() { gzipPool.Put(r) }}, nil
	case snappyCodec:
		r := snappyPool.Get().(*snappyReader)
		r.reset(data)
		return decompressor{r, func() { r.reset(nil); snappyPool.Put(r) }}, nil
	case lz4Codec:
		r := lz4Pool.Get().(*lz4.Reader)
		r.Reset(source)
		return decompressor{r, func() { r.Reset(nil); lz4Pool.Put(r) }}, nil
	case zstdCodec:
		return openZstd(source, wide)
	default:
		return decompressor{}, fmt.Errorf("it is compressed with %v, which is unknown", c)
	}
}

func openZstd(source io.Reader, wide bool) (decompressor, error) {
	if wide {
		r := newZstd(wideWindow)
		if err := r.Reset(source); err != nil {
			r.Close()
			return decompressor{}, fmt.Errorf("zstd: %w", err)
		}
		return decompressor{r, r.Close}, nil
	}
	r := zstdPool.Get().(*zstd.Decoder)
	if err := r.Reset(source); err != nil {
		return decompressor{}, fmt.Errorf("zstd: %w", err)
	}
	return decompressor{r, func() {
		if r.Reset(nil) == nil {
			zstdPool.Put(r)
		}
	}}, nil
}

// newZstd returns a decoder that runs no goroutines, so it need not be closed.
func newZstd(window uint64) *zstd.Decoder {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window))
	if err != nil {
		panic(err) // the options are valid constants
	}
	return r
}

var errSnappy = errors.New("the data is corrupt")

// xerialMagic begins the framing that Java clients put around snappy's blocks: the
// magic and two numbers make up the header, and each block has its length before it.
// The library's package xerial decodes it too, but only all blocks at once.
var xerialMagic = []byte("\x82SNAPPY\x00")

const xerialHeader = 16

// snappyReader decompresses blocks of snappy, in Java's framing or a single one
// without. Java's blocks have 32 KiB, those without a frame a whole batch: a block of
// more than narrowWindow is decompressed piece by piece.
type snappyReader struct {
	data   []byte // still compressed
	framed bool
	out    []byte // decompressed, to be read
	whole  []byte // memory for blocks, used again
	pieces *snappyPieces
}

func (r *snappyReader) reset(data []byte) {
	r.data, r.out, r.pieces = data, nil, nil
	r.framed = bytes.HasPrefix(data, xerialMagic)
}

func (r *snappyReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if err := r.decompress(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// decompress makes the next out, which can be empty; io.EOF at the end.
func (r *snappyReader) decompress() (err error) {
	if r.pieces != nil {
		if r.out, err = r.pieces.next(); r.pieces.left == 0 {
			r.pieces = nil
		}
		return err
	}
	block, err := r.block()
	if err != nil {
		return err
	}
	size, n := binary.Uvarint(block)
	switch {
	case n <= 0 || size > math.MaxUint32:
		return errSnappy
	case size > narrowWindow:
		r.pieces = &snappyPieces{data: block[n:], left: int(size)}
		return nil
	case size > uint64(cap(r.whole)):
		r.whole = make([]byte, size)
	}
	if r.out, err = snappy.Decode(r.whole[:cap(r.whole)], block); err != nil {
		return errSnappy
	}
	return nil
}

// block returns the next block, still compressed; io.EOF at the end.
func (r *snappyReader) block() ([]byte, error) {
	if r.framed {
		for bytes.HasPrefix(r.data, xerialMagic) { // several streams may follow one another
			r.data = r.data[min(len(r.data), xerialHeader):]
		}
	}
	if len(r.data) == 0 {
		return nil, io.EOF
	}
	if !r.framed {
		block := r.data
		r.data = nil
		return block, nil
	}
	if len(r.data) < 4 {
		return nil, errSnappy
	}
	length := binary.BigEndian.Uint32(r.data)
	r.data = r.data[4:]
	if uint64(length) > uint64(len(r.data)) {
		return nil, errSnappy
	}
	block := r.data[:length]
	r.data = r.data[length:]
	return block, nil
}

// snappyPieces decompresses a block piece by piece. It keeps narrowWindow bytes to refer
// back to: encoders refer back by 64 KiB, or by the size of a part that they cut the data
// into, and none of those parts is larger than 4 MiB.
type snappyPieces struct {
	data    []byte // still compressed
	left    int    // bytes still to be made
	literal int    // of them, those to be taken from data as they are
	made    []byte // the last bytes that were made
}

const pieceBytes = 256 << 10

// next makes a piece, which is valid until the next call.
func (s *snappyPieces) next() ([]byte, error) {
	if len(s.made) >= 2*narrowWindow {
		s.made = s.made[:copy(s.made, s.made[len(s.made)-narrowWindow:])]
	}
	begin := len(s.made)
	if begin > 0 { // the first piece showed that there are data behind the size
		s.made = slices.Grow(s.made, 2*narrowWindow+2*pieceBytes-begin)
	}
	for s.left > 0 && len(s.made)-begin < pieceBytes {
		if s.literal > 0 {
			n := min(s.literal, pieceBytes)
			s.made, s.data = append(s.made, s.data[:n]...), s.data[n:]
			s.literal, s.left = s.literal-n, s.left-n
			continue
		}
		length, back, ok := s.element()
		if !ok || length > s.left || back > len(s.made) {
			return nil, errSnappy
		}
		if back == 0 {
			s.literal = length
			continue
		}
		s.left -= length
		for length > 0 { // a match may reach into what it makes itself
			from, n := len(s.made)-back, min(length, back)
			s.made = append(s.made, s.made[from:from+n]...)
			length -= n
		}
	}
	if s.left == 0 && len(s.data) > 0 {
		return nil, errSnappy
	}
	return s.made[begin:], nil
}

// element reads what comes next: a literal, which follows in data, or a match, which is so
// far back.
func (s *snappyPieces) element() (length, back int, ok bool) {
	if len(s.data) == 0 {
		return 0, 0, false
	}
	kind, high := s.data[0]&3, int(s.data[0]>>2)
	size := int([...]byte{0, 1, 2, 4}[kind]) // of the number after the tag
	if kind == 0 && high >= 60 {
		size = high - 59
	}
	if len(s.data) <= size {
		return 0, 0, false
	}
	var bytes [4]byte
	copy(bytes[:], s.data[1:1+size])
	number := int(binary.LittleEndian.Uint32(bytes[:]))
	s.data = s.data[1+size:]
	switch {
	case kind == 0 && size > 0:
		high = number
		fallthrough
	case kind == 0:
		return 1 + high, 0, high < len(s.data)
	case kind == 1:
		length, back = 4+high&7, high>>3<<8|number
	default:
		length, back = 1+high, number
	}
	return length, back, back > 0
}
