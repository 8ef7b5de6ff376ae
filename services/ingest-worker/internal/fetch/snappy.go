package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/snappy"
)

var errSnappy = errors.New("the data is corrupt")

const (
	// wholeBlock is how large a block may be when decompressed to be taken into
	// memory as a whole. A larger one is decompressed piece by piece, keeping so
	// many bytes for it to refer back to. Encoders refer back by 64 KiB, or by
	// the size of a block that they cut the data into; none of those is larger
	// than 4 MiB.
	wholeBlock = 4 << 20
	pieceBytes = 256 << 10
)

// xerialMagic begins the framing that Java clients put around snappy's blocks.
// The magic and two numbers make up its header; before each block is its length.
var xerialMagic = []byte("\x82SNAPPY\x00")

const xerialHeader = 16

// snappyReader decompresses blocks of snappy, in Java's framing or a single one
// without. It holds 10 MiB at most.
type snappyReader struct {
	data   []byte // still compressed
	framed bool
	out    []byte // decompressed, to be read
	whole  []byte // memory for blocks that are taken as a whole
	pieces snappyPieces
}

func (r *snappyReader) reset(data []byte) {
	r.data, r.out = data, nil
	r.framed = bytes.HasPrefix(data, xerialMagic)
	r.pieces.reset(nil, 0)
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
	if r.pieces.left > 0 {
		r.out, err = r.pieces.next()
		return err
	}
	if len(r.pieces.data) > 0 {
		return errSnappy
	}
	block, err := r.block()
	if err != nil {
		return err
	}
	size, n := binary.Uvarint(block)
	if n <= 0 || size > 1<<32-1 {
		return errSnappy
	}
	if size > wholeBlock {
		r.pieces.reset(block[n:], int64(size))
		return nil
	}
	if int(size) > cap(r.whole) {
		r.whole = make([]byte, size)
	}
	r.out, err = snappy.Decode(r.whole[:cap(r.whole)], block)
	if err != nil {
		return errSnappy
	}
	return nil
}

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

// snappyPieces decompresses one block piece by piece.
type snappyPieces struct {
	data    []byte // still compressed
	left    int64  // bytes still to be made
	history []byte // the last bytes made
	literal int    // bytes still to be taken from data
	match   int    // bytes still to be taken from history,
	back    int    // so far back
}

func (s *snappyPieces) reset(data []byte, size int64) {
	*s = snappyPieces{data: data, left: size, history: s.history[:0]}
}

// next makes a piece, which is valid until the next call. There must be something
// left.
func (s *snappyPieces) next() ([]byte, error) {
	if cap(s.history) == 0 {
		s.history = make([]byte, 0, wholeBlock+4*pieceBytes)
	}
	if cap(s.history)-len(s.history) < pieceBytes {
		keep := copy(s.history, s.history[len(s.history)-wholeBlock:])
		s.history = s.history[:keep]
	}
	begin := len(s.history)
	end := begin + int(min(pieceBytes, s.left))
	for len(s.history) < end {
		room := end - len(s.history)
		switch {
		case s.literal > 0:
			n := min(s.literal, room)
			s.history = append(s.history, s.data[:n]...)
			s.data = s.data[n:]
			s.literal -= n
		case s.match > 0:
			// A match may reach into what it makes itself.
			n := min(s.match, room, s.back)
			from := len(s.history) - s.back
			s.history = append(s.history, s.history[from:from+n]...)
			s.match -= n
		default:
			if err := s.element(); err != nil {
				return nil, err
			}
		}
	}
	s.left -= int64(end - begin)
	if s.left == 0 && (s.literal > 0 || s.match > 0) {
		return nil, errSnappy
	}
	return s.history[begin:end], nil
}

// element reads what is to be done next: to take a literal or a match.
func (s *snappyPieces) element() error {
	if len(s.data) == 0 {
		return errSnappy
	}
	tag := s.data[0]
	s.data = s.data[1:]
	high := int(tag >> 2)
	switch tag & 3 {
	case 0:
		return s.beginLiteral(high)
	case 1:
		low, err := s.number(1)
		return s.beginMatch(4+high&7, high>>3<<8|low, err)
	case 2:
		back, err := s.number(2)
		return s.beginMatch(1+high, back, err)
	default:
		back, err := s.number(4)
		return s.beginMatch(1+high, back, err)
	}
}

func (s *snappyPieces) beginLiteral(length int) error {
	if length >= 60 { // the length follows in one to four bytes
		var err error
		if length, err = s.number(length - 59); err != nil {
			return err
		}
	}
	if length >= len(s.data) {
		return errSnappy
	}
	s.literal = length + 1
	return nil
}

func (s *snappyPieces) beginMatch(length, back int, err error) error {
	if err != nil {
		return err
	}
	if back == 0 || back > len(s.history) {
		return errSnappy
	}
	s.match, s.back = length, back
	return nil
}

// number reads a little-endian number of n bytes.
func (s *snappyPieces) number(n int) (int, error) {
	if len(s.data) < n {
		return 0, errSnappy
	}
	v := 0
	for i := range n {
		v |= int(s.data[i]) << (8 * i)
	}
	s.data = s.data[n:]
	return v, nil
}
