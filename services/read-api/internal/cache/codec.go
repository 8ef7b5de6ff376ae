package cache

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// codec compresses bodies, each by itself, with zstd. It is safe for concurrent
// use and starts no goroutines.
type codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	buffers sync.Pool // *[]byte
}

func newCodec() *codec {
	// Windows beyond a record's size would only cost memory.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(fmt.Sprintf("zstd refuses our fixed options: %v", err))
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(fmt.Sprintf("zstd refuses our fixed options: %v", err))
	}
	c := &codec{encoder: encoder, decoder: decoder}
	c.buffers.New = func() any { return new([]byte) }
	return c
}

// compress returns a buffer to be given back with release.
func (c *codec) compress(body []byte) *[]byte {
	buffer := c.buffers.Get().(*[]byte)
	*buffer = c.encoder.EncodeAll(body, (*buffer)[:0])
	return buffer
}

// expand undoes compress; its buffer is to be given back with release.
func (c *codec) expand(compressed []byte) *[]byte {
	buffer := c.buffers.Get().(*[]byte)
	body, err := c.decoder.DecodeAll(compressed, (*buffer)[:0])
	if err != nil {
		// Only compress writes what is read here, in this process's memory.
		panic(fmt.Sprintf("a record in memory does not decompress: %v", err))
	}
	*buffer = body
	return buffer
}

func (c *codec) release(buffer *[]byte) { c.buffers.Put(buffer) }
