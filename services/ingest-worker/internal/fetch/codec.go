package fetch

import (
	"bytes"
	"context"
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
	switch c {
	case uncompressed:
		return "uncompressed"
	case gzipCodec:
		return "gzip"
	case snappyCodec:
		return "snappy"
	case lz4Codec:
		return "lz4"
	case zstdCodec:
		return "zstd"
	default:
		return fmt.Sprintf("codec %d", int8(c))
	}
}

// A zstd stream says how much of what it was decompressed to must be kept. Up to
// narrowWindow that is taken for granted. Up to wideWindow, the most that brokers
// and the reference implementation take, one batch of the process at a time is.
const (
	narrowWindow = 8 << 20
	wideWindow   = 128 << 20
)

var wideSlot = make(chan struct{}, 1)

// decompressor is a stream of decompressed bytes. Its memory is bounded: gzip
// takes 32 KiB, lz4 16 MiB at most, snappy and zstd as said in snappy.go and above.
type decompressor struct {
	io.Reader
	close func()
}

// Decompressors are large, so they are used again.
var (
	gzipPool   = pool[*gzip.Reader]{make: func() *gzip.Reader { return new(gzip.Reader) }}
	snappyPool = pool[*snappyReader]{make: func() *snappyReader { return new(snappyReader) }}
	lz4Pool    = pool[*lz4.Reader]{make: func() *lz4.Reader { return lz4.NewReader(nil) }}
	zstdPool   = pool[*zstd.Decoder]{make: func() *zstd.Decoder { return newZstd(narrowWindow) }}
)

type pool[T any] struct {
	made sync.Pool
	make func() T
}

func (p *pool[T]) get() T {
	if made, ok := p.made.Get().(T); ok {
		return made
	}
	return p.make()
}

func (p *pool[T]) put(made T) { p.made.Put(made) }

// open begins to decompress data. A zstd stream that needs a window over
// narrowWindow gives zstd.ErrWindowSizeExceeded or zstd.ErrDecoderSizeExceeded
// unless wide is set; with that it waits for its turn.
func (c codec) open(ctx context.Context, data []byte, wide bool) (decompressor, error) {
	source := bytes.NewReader(data)
	switch c {
	case gzipCodec:
		r := gzipPool.get()
		if err := r.Reset(source); err != nil {
			gzipPool.put(r)
			return decompressor{}, fmt.Errorf("gzip: %w", err)
		}
		return decompressor{r, func() { gzipPool.put(r) }}, nil
	case snappyCodec:
		r := snappyPool.get()
		r.reset(data)
		return decompressor{r, func() { r.reset(nil); snappyPool.put(r) }}, nil
	case lz4Codec:
		r := lz4Pool.get()
		r.Reset(source)
		return decompressor{r, func() { r.Reset(nil); lz4Pool.put(r) }}, nil
	case zstdCodec:
		return openZstd(ctx, source, wide)
	default:
		return decompressor{}, fmt.Errorf("it is compressed with %v, which is unknown", c)
	}
}

func openZstd(ctx context.Context, source io.Reader, wide bool) (decompressor, error) {
	if wide {
		select {
		case wideSlot <- struct{}{}:
		case <-ctx.Done():
			return decompressor{}, ctx.Err()
		}
		r := newZstd(wideWindow)
		closeWide := func() { r.Close(); <-wideSlot }
		if err := r.Reset(source); err != nil {
			closeWide()
			return decompressor{}, fmt.Errorf("zstd: %w", err)
		}
		return decompressor{r, closeWide}, nil
	}
	r := zstdPool.get()
	if err := r.Reset(source); err != nil {
		return decompressor{}, fmt.Errorf("zstd: %w", err)
	}
	return decompressor{r, func() {
		if r.Reset(nil) == nil {
			zstdPool.put(r)
		}
	}}, nil
}

// newZstd makes a decoder that runs no goroutines, so that it needs no closing.
func newZstd(window uint64) *zstd.Decoder {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window))
	if err != nil {
		panic(err) // the options are constants and good
	}
	return r
}
