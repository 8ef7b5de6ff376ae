package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/snappy"
)

var errSnappy = errors.New("the data is corrupt")

// xerialMagic begins the framing that Java clients put around snappy's blocks: the
// magic and two numbers make up the header, and each block has its length before it.
// The library's package xerial decodes it too, but only all blocks at once.
var xerialMagic = []byte("\x82SNAPPY\x00")

const xerialHeader = 16

// snappyReader decompresses blocks of snappy, in Java's framing or a single one
// without. Blocks are decompressed as a whole: Java's have 32 KiB, those without a
// frame a whole batch. Up to narrowWindow that is always done, up to wideWindow if
// wide is set.
type snappyReader struct {
	data   []byte // still compressed
	framed bool
	wide   bool
	out    []byte // decompressed, to be read
	whole  []byte // memory for blocks, used again
}

func (r *snappyReader) reset(data []byte, wide bool) {
	r.data, r.out, r.wide = data, nil, wide
	r.framed = bytes.HasPrefix(data, xerialMagic)
	if cap(r.whole) > narrowWindow {
		r.whole = nil
	}
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
func (r *snappyReader) decompress() error {
	block, err := r.block()
	if err != nil {
		return err
	}
	size, err := snappy.DecodedLen(block)
	switch {
	case err != nil:
		return errSnappy
	case size > wideWindow:
		return fmt.Errorf("a block has %d bytes when decompressed, and the limit is %d", size, wideWindow)
	case size > narrowWindow && !r.wide:
		return errNeedsWide
	case size > cap(r.whole):
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
