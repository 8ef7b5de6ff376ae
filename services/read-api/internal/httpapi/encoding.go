package httpapi

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// coding is a way to compress answers.
type coding struct {
	name string
	// suffix goes into the entity tags of answers that are so compressed: they are
	// other bytes than the plain ones, and have a tag of their own.
	suffix string
	append func(dst, body []byte) []byte
}

// codings are what clients may ask for, the best first.
var codings = []coding{
	{"zstd", "-zstd", appendZstd},
	{"gzip", "-gzip", appendGzip},
}

const (
	// A list or a page that fits into one packet gains nothing.
	compressedPage = 1400
	// An order that fits into what TCP sends at once arrives no sooner for being
	// smaller (10 segments, RFC 6928), and to compress it would cost more than all
	// the rest of a hit.
	compressedOrder = 14 << 10
)

// tag is the entity tag of an answer so compressed whose plain one is given.
func (k *coding) tag(plain string) string {
	return strings.TrimSuffix(plain, `"`) + k.suffix + `"`
}

// acceptable chooses a coding that Accept-Encoding's lines allow, and not one
// that the client likes less than plain bytes; nil for none.
func acceptable(lines []string) *coding {
	if len(lines) == 0 {
		return nil
	}
	given := map[string]int{}
	for _, line := range lines {
		for one := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(one, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			given[strings.TrimPrefix(name, "x-")] = quality(parameters)
		}
	}
	others := given["*"]
	best, chosen := given["identity"], -1
	for i := range codings {
		q, named := given[codings[i].name]
		if !named {
			q = others
		}
		if q > 0 && (q > best || q == best && chosen < 0) {
			best, chosen = q, i
		}
	}
	if chosen < 0 {
		return nil
	}
	return &codings[chosen]
}

// quality is q of a coding's parameters, in thousandths. What can't be read is
// taken for a refusal: plain bytes are always right.
func quality(parameters string) int {
	name, value, given := strings.Cut(strings.TrimSpace(parameters), "=")
	if !given || !strings.EqualFold(strings.TrimSpace(name), "q") {
		return 1000
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 0
	}
	return int(q * 1000)
}

const gzipLevel = 4 // nearly as small as with 6, at half the work

var gzipWriters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzipLevel)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

func appendGzip(dst, body []byte) []byte {
	to := bytes.NewBuffer(dst)
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	w.Reset(to)
	_, err := w.Write(body)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("gzip into memory: %v", err)) // which doesn't fail
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

func appendZstd(dst, body []byte) []byte { return zstdEncoder().EncodeAll(body, dst) }
