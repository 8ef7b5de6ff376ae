package cache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
)

// SaveOptions say whether and when the orders are saved to a file, from which the next start
// reads them.
type SaveOptions struct {
	// Folder is the file's; "": nothing is saved. No other process may use it.
	Folder string
	// Every is the time between two saves, unless nothing has changed. An order that is
	// deleted is in the file at most that long.
	Every time.Duration
	// Within is how long the save at a stop may take.
	Within time.Duration
	// Build identifies the program: a file of another one is not used.
	Build string
}

// saveRate is how many bytes a second a save beside the work writes at most.
const saveRate = 64 << 20

// saver keeps a file of a Reflector's orders.
type saver struct {
	next    time.Time // when a save is due
	version int64     // of the orders, when the last save began
	running *save     // nil: none

	bytes, savedAt atomic.Int64 // of the file; the time is in Unix seconds
}

// save is one that is being written.
type save struct {
	store   *Store
	footer  footer
	relists int64       // when it began
	writer  *fileWriter // nil: the file could not be made
	stop    context.CancelFunc
	written chan error
	began   time.Time
}

func (r *Reflector) savedPath() string { return filepath.Join(r.options.Save.Folder, "orders.saved") }

// ordersVersion changes whenever the orders may have.
func (r *Reflector) ordersVersion() int64 {
	return r.figure.changes.Load() + r.figure.relists.Load() + r.figure.differences.Load()
}

// load reads the saved orders. It returns nil where there are none that can be used.
func (r *Reflector) load(ctx context.Context) *feed {
	if r.options.Save.Folder == "" {
		return nil
	}
	r.show("reading the saved orders")
	f := &feed{started: time.Now()}
	err := r.readSaved(ctx, f)
	switch {
	case err == nil:
		return f
	case ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist):
		r.refuseSaved(err.Error())
	}
	return nil
}

func (r *Reflector) readSaved(ctx context.Context, f *feed) error {
	file, err := os.Open(r.savedPath())
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	saved, err := readFooter(file, info.Size(), r.options.Save.Build, r.options.Store)
	if err != nil {
		return err
	}
	f.checkpoint = &saved.Checkpoint
	r.saver.bytes.Store(info.Size())
	r.saver.savedAt.Store(info.ModTime().Unix())
	f.store, err = readStore(ctx, file, saved)
	return err
}

// refuseSaved says that the file is not used, and removes it: it may have orders that were
// deleted since.
func (r *Reflector) refuseSaved(reason string) {
	r.log.Warn("the saved orders are not used, all are read from the database", zap.String("reason", reason), zap.String("file", r.savedPath()))
	if err := os.Remove(r.savedPath()); err != nil {
		r.log.Error("cannot remove the saved orders; remove the file", zap.Error(err))
	}
	r.saver.bytes.Store(0)
}

// unsaved tells whether there are orders that the file lacks.
func (r *Reflector) unsaved() bool {
	return r.options.Save.Folder != "" && (r.saver.bytes.Load() == 0 || r.saver.version != r.ordersVersion())
}

// saveIfDue begins a save beside the work. It is called after each round.
func (r *Reflector) saveIfDue(f *feed) {
	if now := time.Now(); r.saver.running == nil && !now.Before(r.saver.next) && r.unsaved() {
		r.saver.next = now.Add(r.options.Save.Every)
		r.beginSave(context.Background(), f, saveRate)
	}
}

// saveAtStop saves the orders when no more rounds follow.
func (r *Reflector) saveAtStop(f *feed) {
	if r.saver.running != nil {
		r.saver.running.stop()
		r.endSave(cmp.Or(<-r.saver.running.written, context.Canceled))
	}
	if f == nil || !f.published || f.relisting || !r.unsaved() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.options.Save.Within)
	defer cancel()
	r.beginSave(ctx, f, rate.Inf)
	_, _ = r.mark(ctx, f, &sink{store: f.store}, <-r.saver.running.written) // the log has the error
}

// beginSave starts to write a feed's orders.
func (r *Reflector) beginSave(ctx context.Context, f *feed, limit rate.Limit) {
	r.saver.version = r.ordersVersion()
	ctx, stop := context.WithCancel(ctx)
	s := &save{
		store: f.store, relists: r.figure.relists.Load(), stop: stop, written: make(chan error, 1), began: time.Now(),
		footer: footer{Build: r.options.Save.Build, Options: r.options.Store, Seed: f.store.seed, Checkpoint: changes.Checkpoint{From: f.position}},
	}
	r.saver.running = s
	go func() { s.written <- s.write(ctx, r.savedPath()+".part", limit) }()
}

// write writes all but the footer.
func (s *save) write(ctx context.Context, path string, limit rate.Limit) (err error) {
	if codec := s.store.codec; codec != nil {
		dictionary := codec.dictionary.Load()
		if dictionary == nil {
			return errors.New("there are too few orders for a dictionary to compress them")
		}
		s.footer.Dictionary = dictionary.text
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	_ = os.Remove(path) // it may have other rights; O_EXCL says whether that worked
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.writer = &fileWriter{WriteCloser: file, limit: rate.NewLimiter(limit, saveRate/16)}
	s.footer.Blocks, err = s.writer.store(ctx, s.store)
	return err
}

// mark reads a round, and completes the save that is written, with its error.
func (r *Reflector) mark(ctx context.Context, f *feed, into *sink, err error) (changes.Round, error) {
	round, stamps, failed := r.source.Mark(ctx, f.position, into)
	s := r.saver.running
	if s.relists != r.figure.relists.Load() {
		err = errors.New("all orders were read anew meanwhile")
	}
	if err = cmp.Or(err, failed); err == nil {
		s.footer.Checkpoint.To, s.footer.Checkpoint.Stamps = round.Position, stamps
		s.footer.Partial = s.store.partial.Load() || s.store.Stats().Evicted > 0
		err = s.writer.footer(ctx, s.footer)
	}
	r.endSave(err)
	return round, failed
}

// endSave puts the file in the place of the one before, unless there was an error.
func (r *Reflector) endSave(err error) {
	s := r.saver.running
	r.saver.running = nil
	s.stop()
	part := r.savedPath() + ".part"
	if s.writer != nil {
		err = cmp.Or(err, s.writer.Close())
	}
	if err == nil {
		err = os.Rename(part, r.savedPath())
	}
	if err != nil {
		r.saver.version-- // what has changed before is not in the file
		_ = os.Remove(part)
		if !errors.Is(err, context.Canceled) {
			r.log.Warn("cannot save the orders; the file of before is kept", zap.Error(err), zap.String("file", r.savedPath()))
		}
		return
	}
	r.saver.bytes.Store(s.writer.size)
	r.saver.savedAt.Store(time.Now().Unix())
	r.log.Info("orders saved", zap.Int64("bytes", s.writer.size), zap.Duration("duration_seconds", time.Since(s.began)))
}
