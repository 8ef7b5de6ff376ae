package cache

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/dict"
	"github.com/klauspost/compress/zstd"
)

const (
	// sampleOrders is how many bodies a dictionary is trained on: the first that
	// come, which a snapshot's are.
	sampleOrders = 1000
	// sampleBytes is how much of a body is looked at: longer ones repeat themselves.
	sampleBytes = 8 << 10
	// dictionaryBytes is how long the dictionary's text gets at most.
	dictionaryBytes = 32 << 10
	dictionaryID    = 1 // in one byte of a frame
	zstdMagic       = "\x28\xb5\x2f\xfd"
)

// codec compresses bodies, each by itself, with zstd and a dictionary that it
// trains on the first ones. Until it has seen enough of them they stay as they
// are. It is safe for concurrent use and starts no goroutines.
type codec struct {
	dictionary atomic.Pointer[dictionary]

	mu      sync.Mutex
	samples []sample
}

// sample is a body that came before there was a dictionary.
type sample struct {
	uid  string
	body []byte
}

// learn keeps a body to train on, and returns what there was before, to be
// stored anew, once there is a dictionary. Others wait while it is trained:
// what they bring is better compressed.
func (c *codec) learn(uid string, body []byte) (early []sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dictionary.Load() != nil {
		return nil
	}
	c.samples = append(c.samples, sample{string([]byte(uid)), append([]byte(nil), body...)})
	if len(c.samples) < sampleOrders {
		return nil
	}
	early, c.samples = c.samples, nil
	c.dictionary.Store(train(early))
	return early
}

// dictionary compresses and expands.
type dictionary struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	text    []byte // nil: there was nothing in common to learn
}

// train makes a dictionary of what the samples have in common, packed as they
// will be.
func train(samples []sample) *dictionary {
	inputs := make([][]byte, 0, len(samples))
	for _, s := range samples {
		input, ok := pack(nil, s.uid, s.body)
		if !ok {
			input = s.body
		}
		inputs = append(inputs, input[:min(len(input), sampleBytes)])
	}
	// Orders that have nothing in common give none, which is no mistake.
	text, err := dict.BuildZstdDict(inputs, dict.Options{
		MaxDictSize: dictionaryBytes, HashBytes: 6, ZstdDictID: dictionaryID, ZstdLevel: zstd.SpeedFastest,
	})
	if err != nil {
		text = nil
	}
	return newDictionary(text)
}

// newDictionary makes a dictionary of its text.
func newDictionary(text []byte) *dictionary {
	d := &dictionary{text: text}
	encoding := []zstd.EOption{
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithWindowSize(128 << 10), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithEncoderLevel(zstd.SpeedFastest),
	}
	decoding := []zstd.DOption{zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true)}
	if len(text) > 0 {
		encoding = append(encoding, zstd.WithEncoderDict(text))
		decoding = append(decoding, zstd.WithDecoderDicts(text))
	}
	var err error
	if d.encoder, err = zstd.NewWriter(nil, encoding...); err == nil {
		d.decoder, err = zstd.NewReader(nil, decoding...)
	}
	if err != nil {
		panic(fmt.Sprintf("zstd refuses our fixed options or its own dictionary: %v", err))
	}
	return d
}

// scratch is memory for one call of compress or expand.
type scratch struct{ frame, packed, body []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// compress returns a body's smallest form, which is in s or the body itself.
func (d *dictionary) compress(s *scratch, uid string, body []byte) (form, []byte) {
	f, from := compressed, body
	var ok bool
	if s.packed, ok = pack(s.packed[:0], uid, body); ok {
		f, from = packed, s.packed
	}
	s.frame = d.encoder.EncodeAll(from, s.frame[:0])
	if short := d.shorten(s.frame); len(short) < len(body) {
		return f, short
	}
	return plain, body
}

// shorten takes away what is the same in all frames: the magic number, and the
// dictionary's ID after the first byte.
func (d *dictionary) shorten(frame []byte) []byte {
	short := frame[len(zstdMagic):]
	if len(d.text) > 0 {
		short[1] = short[0]
		short = short[1:]
	}
	return short
}

// lengthen undoes shorten.
func (d *dictionary) lengthen(frame, short []byte) []byte {
	frame = append(frame, zstdMagic...)
	frame = append(frame, short[0])
	if len(d.text) > 0 {
		frame = append(frame, dictionaryID)
	}
	return append(frame, short[1:]...)
}

// expand undoes compress; what it returns is in s.
func (d *dictionary) expand(s *scratch, f form, uid string, stored []byte) []byte {
	s.frame = d.lengthen(s.frame[:0], stored)
	var err error
	s.packed, err = d.decoder.DecodeAll(s.frame, s.packed[:0])
	if err != nil {
		// Only compress writes what is read here, in this process's memory.
		panic(fmt.Sprintf("a record in memory does not decompress: %v", err))
	}
	if f == compressed {
		return s.packed
	}
	s.body = unpack(s.body[:0], uid, s.packed)
	return s.body
}
