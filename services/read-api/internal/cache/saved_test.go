package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// storeOptions are those under which files are tried.
var storeOptions = map[string]StoreOptions{"plain": {}, "compressed": {Compress: true}, "with a budget": {Bytes: 512 << 10}}

// newFooter describes a store.
func newFooter(s *Store, options StoreOptions) footer {
	f := footer{Build: "b", Options: options, Seed: s.seed, Partial: s.Stats().Evicted > 0}
	if s.codec != nil {
		f.Dictionary = s.codec.dictionary.Load().text
	}
	return f
}

// newSavedFile returns the writer of a file, and its path.
func newSavedFile(t testing.TB) (*fileWriter, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved")
	file, err := os.Create(path)
	require.NoError(t, err)
	return &fileWriter{WriteCloser: file, limit: rate.NewLimiter(rate.Inf, 0)}, path
}

// saveStore writes a store to a file, and returns its path.
func saveStore(t testing.TB, s *Store, options StoreOptions) string {
	t.Helper()
	w, path := newSavedFile(t)
	f := newFooter(s, options)
	var err error
	f.Blocks, err = w.store(t.Context(), s)
	require.NoError(t, err)
	require.NoError(t, w.footer(t.Context(), f))
	require.NoError(t, w.Close())
	return path
}

func loadStore(t testing.TB, path string, options StoreOptions) (*Store, error) {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	info, err := file.Stat()
	require.NoError(t, err)
	f, err := readFooter(file, info.Size(), "b", options)
	if err != nil {
		return nil, err
	}
	return readStore(context.Background(), file, f)
}

// filled returns a store with random orders, of which some were changed and deleted, and
// what it holds.
func filled(random *rand.Rand, options StoreOptions) (*Store, map[string][]byte) {
	s, want := NewStore(options), map[string][]byte{}
	for step := range 3000 {
		uid := fmt.Sprintf("uid-%d", random.IntN(1500))
		if random.IntN(5) == 0 && step > 2000 {
			s.Delete(uid)
			delete(want, uid)
			continue
		}
		want[uid] = canonicalOf(random, uid, step)
		s.Put(uid, want[uid], updated(want[uid]))
	}
	return s, want
}

func TestASavedStoreIsReadAgain(t *testing.T) {
	for name, options := range storeOptions {
		t.Run(name, func(t *testing.T) {
			s, want := filled(rand.New(rand.NewPCG(rand.Uint64(), 1)), options)
			again, err := loadStore(t, saveStore(t, s, options), options)
			require.NoError(t, err)
			maps.DeleteFunc(want, func(uid string, _ []byte) bool { _, held := s.Get(uid); return !held }) // evicted
			require.Equal(t, options.Bytes > 0, s.Stats().Evicted > 0)
			requireHolds(t, again, want)
			require.Equal(t, s.Complete("x"), again.Complete("x"))
			require.Equal(t, s.Stats().JSONBytes, again.Stats().JSONBytes)
			random := rand.New(rand.NewPCG(rand.Uint64(), 1))
			for uid := range want { // it can be changed as any other
				want[uid] = canonicalOf(random, uid, -1)
				again.Put(uid, want[uid], updated(want[uid]))
			}
			if options.Bytes == 0 {
				requireHolds(t, again, want)
			}
		})
	}
}

// large is an order that does not compress.
func large(random *rand.Rand, uid string, version int) []byte {
	canonical := body(uid, version, 6000)
	for i := len(canonical) - 5900; i < len(canonical)-1; i++ {
		canonical[i] = byte('!' + random.IntN(90))
	}
	return canonical
}

// TestAStoreIsSavedWhileItChanges has each block followed by changes, so that chunks are given
// back and, after the save, moved. The changes that came meanwhile make up for what the file
// has older or newer, as the tail does.
func TestAStoreIsSavedWhileItChanges(t *testing.T) {
	for name, options := range storeOptions {
		if options.Bytes > 0 {
			continue // what is evicted meanwhile may be missing
		}
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			order := large
			if options.Compress {
				order = canonicalOf // training is slow on large ones
			}
			s, want := NewStore(options), map[string][]byte{}
			for i := range 2000 { // several chunks a shard
				uid := fmt.Sprintf("uid-%d", i)
				want[uid] = order(random, uid, i)
				s.Put(uid, want[uid], updated(want[uid]))
			}
			changed := map[string]bool{}
			w, path := newSavedFile(t)
			f := newFooter(s, options)
			f.Blocks = make([][]block, len(s.shards))
			for i := range s.shards {
				require.NoError(t, s.shards[i].save(func(records []byte) error {
					b, err := w.block(t.Context(), records)
					f.Blocks[i] = append(f.Blocks[i], b)
					for step := range 10 {
						uid := fmt.Sprintf("uid-%d", random.IntN(2100))
						changed[uid] = true
						if random.IntN(3) == 0 {
							s.Delete(uid)
							delete(want, uid)
						} else {
							want[uid] = order(random, uid, 10_000+step)
							s.Put(uid, want[uid], updated(want[uid]))
						}
					}
					return err
				}))
			}
			require.NoError(t, w.footer(t.Context(), f))
			require.NoError(t, w.Close())
			requireHolds(t, s, want)
			again, err := loadStore(t, path, options)
			require.NoError(t, err)
			for uid := range changed {
				again.Delete(uid)
				if canonical, there := want[uid]; there {
					again.Put(uid, canonical, updated(canonical))
				}
			}
			requireHolds(t, again, want)
		})
	}
}

// FuzzADamagedFileIsRefused changes a byte, or cuts the file off, or puts a part of it in the
// place of another.
func FuzzADamagedFileIsRefused(f *testing.F) {
	type saved struct {
		text []byte
		want map[string][]byte
	}
	var files []saved
	for _, options := range []StoreOptions{{}, {Compress: true}} {
		s, want := filled(rand.New(rand.NewPCG(1, 1)), options)
		text, err := os.ReadFile(saveStore(f, s, options))
		require.NoError(f, err)
		files = append(files, saved{text, want})
	}
	for i := range uint32(6) {
		f.Add(i*1_000_003, byte(1<<(i%8)), uint32(0), uint32(0))
		f.Add(i*1_000_003, byte(0), uint32(0), uint32(0))
		f.Add(i*1_000_003, byte(0), i*7919, i*977)
	}
	f.Fuzz(func(t *testing.T, at uint32, flip byte, from, length uint32) {
		for i, one := range files {
			text := bytes.Clone(one.text)
			place := int(at) % len(text)
			switch {
			case flip != 0:
				text[place] ^= flip
			case length == 0:
				text = text[:place]
			default:
				copy(text[place:], text[int(from)%len(text):][:min(int(length), len(text)-int(from)%len(text))])
			}
			path := filepath.Join(t.TempDir(), "saved")
			require.NoError(t, os.WriteFile(path, text, 0o600))
			again, err := loadStore(t, path, StoreOptions{Compress: i == 1})
			if bytes.Equal(text, one.text) {
				require.NoError(t, err)
				requireHolds(t, again, one.want)
				continue
			}
			require.Error(t, err)
		}
	})
}

// saving has a reflector save to a folder.
func saving(folder string, change ...func(*SaveOptions)) func(*bundle, *ReflectorOptions) {
	return func(_ *bundle, o *ReflectorOptions) {
		o.Save = SaveOptions{Folder: folder, Every: time.Hour, Within: 10 * time.Second, Build: "b"}
		for _, c := range change {
			c(&o.Save)
		}
	}
}

// started is a reflector that has synced, with what it does to stop.
func started(t *testing.T, source *fakeSource, options ...func(*bundle, *ReflectorOptions)) (b *bundle, stop func()) {
	t.Helper()
	b = setup(t, source, never, options...)
	b.eventually(t, "synced", b.cache.HasSynced)
	return b, b.stop
}

func TestAStartReadsWhatWasSaved(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "saved")
	path := filepath.Join(folder, "orders.saved")
	source := newFakeSource("a", "b", "c")
	b, stop := started(t, source, saving(folder))
	b.eventually(t, "saved at once", func() bool { return b.reflector.saver.bytes.Load() > 0 || b.refresh() })
	source.change("b", 0)
	source.change("d", 1)
	b.refresh()
	b.eventually(t, "d", func() bool { return b.version("d") == 1 })
	stop()
	for path, mode := range map[string]os.FileMode{folder: 0o700 | os.ModeDir, path: 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode())
	}
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"order_uid":"d"`)
	require.NotContains(t, string(raw), `"order_uid":"b"`, "what is deleted is in no file after a save")

	source.change("a", 2)
	source.change("c", 0)
	b, stop = started(t, source, saving(folder))
	require.Equal(t, 1, source.snapshot, "only the first start read all orders")
	require.Equal(t, []int{2, 0, 0, 1}, []int{b.version("a"), b.version("b"), b.version("c"), b.version("d")})
	require.True(t, b.cache.Get("c", time.Now()).Absent)
	require.Equal(t, []string{"stamp"}, source.resumed.Stamps)
	require.NotZero(t, b.logged.FilterMessage("cache restored").FilterFieldKey("file").Len())
	stop()
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	b, stop = started(t, source, saving(folder, func(o *SaveOptions) { o.Within = time.Nanosecond }))
	source.change("a", 3)
	b.refresh()
	b.eventually(t, "a", func() bool { return b.version("a") == 3 })
	stop()
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after, "there was no time to save")
	require.NotZero(t, b.logged.FilterMessage("cannot save the orders; the file of before is kept").Len())
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestAnyDoubtAboutAFileMeansASnapshot(t *testing.T) {
	for name, doubt := range map[string]func(t *testing.T, source *fakeSource, path string, o *ReflectorOptions){
		"another build": func(_ *testing.T, _ *fakeSource, _ string, o *ReflectorOptions) { o.Save.Build = "c" },
		"a budget":      func(_ *testing.T, _ *fakeSource, _ string, o *ReflectorOptions) { o.Store.Bytes = 1 << 30 },
		"history":       func(_ *testing.T, source *fakeSource, _ string, _ *ReflectorOptions) { source.refusal = "restored" },
		"no file at all": func(t *testing.T, _ *fakeSource, path string, _ *ReflectorOptions) {
			t.Helper()
			require.NoError(t, os.WriteFile(path, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			path := filepath.Join(folder, "orders.saved")
			source := newFakeSource("a", "b")
			_, stop := started(t, source, saving(folder))
			stop()
			_, err := os.Stat(path)
			require.NoError(t, err)
			source.orders["a"] = 7 // unseen: only a snapshot finds it
			removed := false
			source.onSnap = func() {
				_, err := os.Stat(path)
				removed = os.IsNotExist(err)
			}
			b, stop := started(t, source, saving(folder), func(_ *bundle, o *ReflectorOptions) { doubt(t, source, path, o) })
			defer stop()
			require.Equal(t, 7, b.version("a"))
			require.True(t, removed, "it may have orders that were deleted since")
			require.Equal(t, 1, b.logged.FilterMessage("the saved orders are not used, all are read from the database").Len())
		})
	}
}

// TestAFileWaitsForTheDatabase has the database away at the start: nothing is served before the
// tail has caught up.
func TestAFileWaitsForTheDatabase(t *testing.T) {
	folder := t.TempDir()
	source := newFakeSource("a")
	_, stop := started(t, source, saving(folder))
	stop()
	source.failure = errors.New("away")
	source.change("a", 2)
	b := setup(t, source, never, saving(folder))
	b.eventually(t, "it waits", func() bool { return b.logged.FilterMessage("the database can't be read; trying again").Len() > 0 })
	require.False(t, b.cache.HasSynced())
	source.set(func() { source.failure = nil })
	b.eventually(t, "synced", b.cache.HasSynced)
	require.Equal(t, 2, b.version("a"))
	require.Equal(t, 1, source.snapshot)
}

// TestARelistEndsASave calls for a relist while a save waits for its checkpoint.
func TestARelistEndsASave(t *testing.T) {
	folder := t.TempDir()
	source := newFakeSource("a")
	b, stop := started(t, source, saving(folder))
	source.set(func() { source.relist = "truncated" })
	source.orders["a"] = 5
	b.refresh()
	b.eventually(t, "relisted", func() bool { return b.version("a") == 5 })
	stop()
	b, stop = started(t, source, saving(folder))
	defer stop()
	require.Equal(t, 5, b.version("a"))
}
