package cache

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// A saved file holds the records of a store: for each chunk a block of its live records, then
// a block with the footer, then where that is. Each block has a checksum, so nothing depends
// on when the system writes what to the disk.

// footer describes the blocks. A reader uses only files of its own build and options: the
// records' form may differ between builds.
type footer struct {
	Build      string
	Options    StoreOptions
	Seed       uint64 // of the hashes
	Dictionary []byte
	Partial    bool // orders were left out
	Checkpoint changes.Checkpoint
	Blocks     [][]block // of each shard, in order of arrival
}

type block struct {
	Offset    int64
	Size, CRC uint32
}

// savedMagic ends a file. It changes with the format of what is before it.
const savedMagic = "orderhub saved orders 2\n"

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	endBytes   = int64(binary.Size(block{}) + len(savedMagic))
)

// fileWriter writes blocks.
type fileWriter struct {
	io.WriteCloser
	limit *rate.Limiter
	size  int64
}

func (w *fileWriter) block(ctx context.Context, content []byte) (block, error) {
	if err := w.limit.WaitN(ctx, min(len(content), w.limit.Burst())); err != nil {
		return block{}, err
	}
	b := block{Offset: w.size, Size: uint32(len(content)), CRC: crc32.Checksum(content, castagnoli)}
	w.size += int64(len(content))
	_, err := w.Write(content)
	return b, err
}

// store writes the records of a store, which may change meanwhile: each record is as it was
// at some moment of the call.
func (w *fileWriter) store(ctx context.Context, s *Store) (blocks [][]block, err error) {
	blocks = make([][]block, len(s.shards))
	for i := range s.shards {
		err = cmp.Or(err, s.shards[i].save(func(records []byte) error {
			b, err := w.block(ctx, records)
			blocks[i] = append(blocks[i], b)
			return err
		}))
	}
	return blocks, err
}

func (w *fileWriter) footer(ctx context.Context, f footer) error {
	var text bytes.Buffer
	if err := gob.NewEncoder(&text).Encode(f); err != nil {
		return err
	}
	b, err := w.block(ctx, text.Bytes())
	if err == nil {
		err = binary.Write(w, binary.BigEndian, b)
	}
	_, end := io.WriteString(w, savedMagic)
	return errors.Join(err, end)
}

func (b block) read(file io.ReaderAt, into []byte) error {
	if _, err := file.ReadAt(into, b.Offset); err != nil {
		return err
	}
	if crc32.Checksum(into, castagnoli) != b.CRC {
		return fmt.Errorf("the file is damaged: the checksum of the block at %d is wrong", b.Offset)
	}
	return nil
}

// readFooter reads the footer of a file, if it is of this build and these options.
func readFooter(file io.ReaderAt, size int64, build string, options StoreOptions) (f footer, err error) {
	end := make([]byte, endBytes)
	if _, err := file.ReadAt(end, size-endBytes); err != nil {
		return f, fmt.Errorf("the file is cut off: %w", err)
	}
	var b block
	_, _ = binary.Decode(end, binary.BigEndian, &b) // it is long enough
	if string(end[binary.Size(b):]) != savedMagic || b.Offset < 0 || b.Offset+int64(b.Size) != size-endBytes {
		return f, errors.New("the file is cut off, or of another version")
	}
	text := make([]byte, b.Size)
	if err := b.read(file, text); err != nil {
		return f, err
	}
	switch err := gob.NewDecoder(bytes.NewReader(text)).Decode(&f); {
	case err != nil:
		return f, err
	case f.Build != build:
		return f, fmt.Errorf("another build of the program wrote the file: %s", f.Build)
	case f.Options != options:
		return f, errors.New("CACHE_BYTES or CACHE_COMPRESSION has another value")
	}
	return f, nil
}

// readStore makes a store of the blocks. Each shard gets its own records back, in their order.
func readStore(ctx context.Context, file io.ReaderAt, f footer) (*Store, error) {
	s := newSeededStore(f.Options, f.Seed)
	s.partial.Store(f.Partial)
	if s.codec != nil {
		s.codec.dictionary.Store(newDictionary(f.Dictionary))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range s.shards {
		group.Go(func() error {
			for _, b := range f.Blocks[i] {
				data := make([]byte, wholeSize(int(b.Size)))
				if err := cmp.Or(ctx.Err(), b.read(file, data[:b.Size])); err != nil {
					return err
				}
				s.shards[i].adopt(data, int(b.Size))
			}
			return nil
		})
	}
	return s, group.Wait()
}

// adopt takes a chunk with records. The same order again replaces the one before.
func (sh *shard) adopt(data []byte, size int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	slot := sh.log.insertBefore(none, data)
	for offset := 0; offset < size; offset = sh.log.chunks[slot].used {
		raw := rawRecord(data[offset:size])
		uid := raw.uid()
		fp := fingerprintOf(sh.hash(uid))
		if old, _, exists := sh.find(fp, uid); exists {
			sh.forget(fp, uid, old)
		}
		sh.index.insert(fp, uid, sh.log.fill(slot, raw.len(), func([]byte) {})) // it lies there already
		sh.content += int64(raw.head().size)
	}
	sh.tidy()
}

// save gives write the live records of one chunk after another, in order of arrival. Until
// it returns no record moves, except that a changed one becomes the newest; so each
// order that does not change is given once. write must not keep the bytes.
func (sh *shard) save(write func(records []byte) error) (err error) {
	sh.mu.Lock()
	sh.saving = true
	began := sh.log
	began.chunks = slices.Clone(began.chunks)
	sh.mu.Unlock()
	var records []byte
	for slot := began.oldest; slot != none && err == nil; slot = began.chunks[slot].newer {
		if records = sh.appendLive(records[:0], slot, began.chunks[slot].data); len(records) > 0 {
			err = write(records)
		}
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.saving = false
	return err
}

// appendLive appends the live records of a chunk, unless it has been given back, and its slot
// perhaps to another one.
func (sh *shard) appendLive(records []byte, slot int32, data []byte) []byte {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if now := sh.log.chunks[slot].data; len(now) == 0 || &now[0] != &data[0] {
		return records
	}
	sh.log.each(slot, func(raw rawRecord, at location) bool {
		if sh.isLive(raw, at) {
			records = append(records, raw[:raw.len()]...)
		}
		return true
	})
	return records
}
