package orderdb

import (
	"bytes"
	"compress/zlib"
	"io"
	"sync"
	"time"

	"github.com/uptrace/bun"
)

// Version is a row of the table order_versions: what an order was before a newer record
// replaced or deleted it.
type Version struct {
	bun.BaseModel `bun:"table:order_versions,alias:v"`

	OrderUID   string    `bun:"order_uid,pk"`
	Number     int64     `bun:"version,pk"`
	ReplacedAt time.Time `bun:"replaced_at"`
	Content    []byte    `bun:"content"`
}

// Canonical is the order's canonical JSON.
func (v *Version) Canonical() ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(v.Content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// compressors are kept, since a new one takes longer than to compress an order.
var compressors = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}

// CompressVersion makes the content of a version of canonical JSON.
func CompressVersion(canonical []byte) ([]byte, error) {
	var b bytes.Buffer
	z := compressors.Get().(*zlib.Writer)
	defer compressors.Put(z)
	z.Reset(&b)
	if _, err := z.Write(canonical); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}
