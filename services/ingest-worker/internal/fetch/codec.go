package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
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
