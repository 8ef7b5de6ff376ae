package changes

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// batch holds complete messages from the server, one after another: a byte for the
// kind, the length (its own four bytes included), and the content. Each CopyData
// message has one row; other messages are skipped.
type batch []byte

// messageHead is how long kind and length are.
const messageHead = 5

// next removes the next row from the batch; nil means there are no more.
func (b *batch) next() (row orderdb.RawRow) {
	for len(*b) > 0 {
		kind, end := (*b)[0], 1+int(binary.BigEndian.Uint32((*b)[1:]))
		row, *b = orderdb.RawRow((*b)[messageHead:end]), (*b)[end:]
		if kind == copyData && len(row) > len(copyTrailer) {
			return row
		}
	}
	return nil
}

// Kinds of messages.
const (
	copyData      = 'd'
	errorResponse = 'E'
	readyForQuery = 'Z'
)

var (
	copySignature = []byte("PGCOPY\n\xff\r\n\x00")
	copyTrailer   = []byte("\xff\xff")
)

// readCopy reads the answer to a COPY in the binary form to its end.
func readCopy(ctx context.Context, from io.Reader, out *scan) error {
	c := copyReader{ctx: ctx, out: out, buffer: make(batch, batchBytes)}
	var refused error
	for {
		kind, message, err := c.next(from)
		if err != nil {
			return err
		}
		switch kind {
		case copyData:
			if !c.begun {
				if err := c.begin(message); err != nil {
					return err
				}
			}
		case errorResponse:
			var answer pgproto3.ErrorResponse
			if err := answer.Decode(message); err != nil {
				return err
			}
			refused = pgconn.ErrorResponseToPgError(&answer)
		case readyForQuery:
			if refused != nil {
				return refused
			}
			return c.send(0)
		}
	}
}

// copyReader reads messages, and passes them on a batch at a time.
type copyReader struct {
	ctx   context.Context
	out   *scan
	begun bool // COPY's header has come

	buffer      batch
	first, last int // buffer[first:last] are whole messages that go into the batch
	read        int // buffer[last:read] is not looked at yet
}

// next reads up to the end of the next message.
func (c *copyReader) next(from io.Reader) (kind byte, message []byte, err error) {
	for {
		need := messageHead
		if rest := c.buffer[c.last:c.read]; len(rest) >= messageHead {
			if need = 1 + int(binary.BigEndian.Uint32(rest[1:])); need < messageHead {
				return 0, nil, fmt.Errorf("the server sent a message of %d bytes", need)
			}
			if len(rest) >= need {
				c.last += need
				return rest[0], rest[messageHead:need], nil
			}
		}
		// A small rest of the room would make for a small read.
		if len(c.buffer)-c.read < sentBytes || len(c.buffer)-c.last < need {
			if err := c.send(max(need, batchBytes)); err != nil {
				return 0, nil, err
			}
		}
		n, err := from.Read(c.buffer[c.read:])
		if c.read += n; n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, err
		}
	}
}

// begin removes COPY's header from the first CopyData message, which was read last, and
// everything before that message.
func (c *copyReader) begin(message []byte) error {
	rest, ok := bytes.CutPrefix(message, copySignature)
	if !ok || len(rest) < 8 {
		return errors.New("the server's COPY does not begin as it should")
	}
	extension := binary.BigEndian.Uint32(rest[4:])
	if uint64(len(rest)) < 8+uint64(extension) {
		return errors.New("the server's COPY has a header that is cut off")
	}
	row := rest[8+extension:]
	c.first = c.last - len(row) - messageHead
	c.buffer[c.first] = copyData
	binary.BigEndian.PutUint32(c.buffer[c.first+1:], uint32(len(row)+messageHead-1))
	c.begun = true
	return nil
}

// send passes on the complete messages, and moves the rest of the buffer to another one
// of at least size bytes.
func (c *copyReader) send(size int) error {
	rest := c.buffer[c.last:c.read]
	var next batch
	select {
	case next = <-c.out.free:
		next = next[:cap(next)]
	default:
	}
	if len(next) < size {
		next = make(batch, size)
	}
	c.read = copy(next, rest)
	full := c.buffer[c.first:c.last]
	c.buffer, c.first, c.last = next, 0, 0
	select {
	case c.out.rows <- full:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}
