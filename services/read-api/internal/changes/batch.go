package changes

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// batch holds rows one after another: the length in four bytes, and the row.
type batch []byte

const rowHead = 4

// next removes the next row from the batch; nil means there are no more.
func (b *batch) next() (row orderdb.RawRow) {
	if len(*b) == 0 {
		return nil
	}
	end := rowHead + int(binary.BigEndian.Uint32(*b))
	row, *b = orderdb.RawRow((*b)[rowHead:end]), (*b)[end:]
	return row
}

var (
	copySignature = []byte("PGCOPY\n\xff\r\n\x00")
	copyTrailer   = []byte("\xff\xff")
)

// rowWriter takes the messages of a COPY in the binary form, and passes the rows on a
// batch at a time.
type rowWriter struct {
	ctx   context.Context
	out   *scan
	begun bool // COPY's header has come
	rows  batch
}

// Write takes one message: a row, before the first one the header, or the trailer.
func (w *rowWriter) Write(message []byte) (int, error) {
	row := message
	if !w.begun {
		rest, ok := bytes.CutPrefix(message, copySignature)
		if !ok || len(rest) < 8 {
			return 0, errors.New("the server's COPY does not begin as it should")
		}
		extension := binary.BigEndian.Uint32(rest[4:])
		if uint64(len(rest)) < 8+uint64(extension) {
			return 0, errors.New("the server's COPY has a header that is cut off")
		}
		row, w.begun = rest[8+extension:], true
	}
	if len(row) > len(copyTrailer) {
		w.rows = append(binary.BigEndian.AppendUint32(w.rows, uint32(len(row))), row...)
	}
	if len(w.rows) < batchBytes {
		return len(message), nil
	}
	return len(message), w.flush()
}

func (w *rowWriter) flush() error {
	if len(w.rows) == 0 {
		return nil
	}
	select {
	case w.out.rows <- w.rows:
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
	select {
	case w.rows = <-w.out.free:
		w.rows = w.rows[:0]
	default:
		w.rows = make(batch, 0, batchBytes+batchBytes/8)
	}
	return nil
}
