package web

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Content encoding is our own code, though klauspost/compress has gzhttp for it:
// gzhttp gives neither an answer to HEAD nor a 304 the entity tag of the encoding,
// does not know its own tags in If-None-Match, and leaves out Content-Length. Our
// answers are whole before they are sent, so a coding is chosen, and its tag known,
// without a wrapper around the ResponseWriter.

// Coding is a content encoding.
type Coding struct {
	Name string // as in Content-Encoding
	// suffix goes into the entity tags of encoded answers: they are other bytes than
	// the plain ones, and so have a tag of their own.
	suffix string
	encode func(body []byte) []byte
}

// codings are what clients may ask for, the best first.
var codings = []*Coding{
	{"zstd", "-zstd", func(body []byte) []byte { return zstdEncoder().EncodeAll(body, nil) }},
	{"gzip", "-gzip", encodeGzip},
}

// Tag is the entity tag of an encoded answer whose plain one is given. A weak tag is
// the same for all encodings; nil is no encoding.
func (k *Coding) Tag(plain string) string {
	if k == nil || strings.HasPrefix(plain, "W/") {
		return plain
	}
	return strings.TrimSuffix(plain, `"`) + k.suffix + `"`
}

// Encode returns the encoded body.
func (k *Coding) Encode(body []byte) []byte { return k.encode(body) }

// Accepted chooses a coding that a request's Accept-Encoding allows, and not one
// that the client likes less than plain bytes; nil for none.
func Accepted(h http.Header) *Coding {
	lines := h["Accept-Encoding"]
	if len(lines) == 0 {
		return nil
	}
	given := map[string]float64{}
	for _, line := range lines {
		for one := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(one, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			given[strings.TrimPrefix(name, "x-")] = quality(parameters)
		}
	}
	var chosen *Coding
	best := given["identity"]
	for _, k := range codings {
		q, named := given[k.Name]
		if !named {
			q = given["*"]
		}
		if q > 0 && (q > best || q == best && chosen == nil) {
			best, chosen = q, k
		}
	}
	return chosen
}

// quality is q of a coding's parameters. An unreadable one is a refusal: plain bytes
// are always right.
func quality(parameters string) float64 {
	name, value, given := strings.Cut(strings.TrimSpace(parameters), "=")
	if !given || !strings.EqualFold(strings.TrimSpace(name), "q") {
		return 1
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 0
	}
	return q
}

const gzipLevel = 4 // nearly as small as with 6, at half the work

var gzipWriters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzipLevel)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

func encodeGzip(body []byte) []byte {
	var to bytes.Buffer
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	w.Reset(&to)
	_, err := w.Write(body)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("gzip into memory: %v", err)) // a buffer takes every write
	}
	return to.Bytes()
}

// zstdEncoder is made when it is first needed, and starts no goroutines.
var zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("zstd refuses our fixed options: %v", err))
	}
	return encoder
})
