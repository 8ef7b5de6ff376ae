package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stdout is a Sink for what collects a container's output.
type stdout struct{ io.Writer }

func (s stdout) Append(_ context.Context, _ string, lines []byte) error {
	n, err := s.Write(lines)
	if err != nil && n > 0 {
		err = errors.Join(err, ErrUncertain)
	}
	return err
}

func (stdout) Close() error { return nil }

// rotatedAt is the form of a rotated file's suffix, which sorts by time.
const rotatedAt = "20060102T150405.000000000Z"

// file is a Sink. Several processes may append to the same path: each takes the lock of
// the open file for a group of lines, and notices when another one has rotated it.
type file struct {
	path  string
	limit int64 // bytes, after which it is rotated
	keep  int   // rotated files that remain; 0: all
	open  *os.File
}

func (f *file) Append(_ context.Context, _ string, lines []byte) (err error) {
	size, err := f.lock()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, syscall.Flock(int(f.open.Fd()), syscall.LOCK_UN))
	}()
	if size > 0 && size+int64(len(lines)) > f.limit {
		if size, err = f.rotate(); err != nil {
			return err
		}
	}
	// A process that was killed may have left a torn line.
	last := []byte{'\n'}
	if size > 0 {
		if _, err := f.open.ReadAt(last, size-1); err != nil {
			return err
		}
	}
	if last[0] != '\n' {
		lines = append([]byte{'\n'}, lines...)
	}
	_, err = f.open.Write(lines)
	if err == nil {
		err = f.open.Sync()
	}
	if err == nil {
		return nil
	}
	if cut := errors.Join(f.open.Truncate(size), f.open.Sync()); cut != nil {
		return errors.Join(err, cut, ErrUncertain)
	}
	return err
}

// lock opens the file at path, where that is another one than before, and locks it.
func (f *file) lock() (size int64, err error) {
	for {
		if f.open == nil {
			if f.open, err = os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600); err != nil {
				f.open = nil
				return 0, err
			}
		}
		if err := flock(f.open); err != nil {
			return 0, err
		}
		mine, err := f.open.Stat()
		if err != nil {
			return 0, err
		}
		if there, err := os.Stat(f.path); err == nil && os.SameFile(mine, there) {
			return mine.Size(), nil
		}
		if err := f.Close(); err != nil { // which also unlocks it
			return 0, err
		}
	}
}

func flock(file *os.File) error {
	for {
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// rotate gives the locked file the time as its suffix, removes the oldest ones, and
// locks a new file.
func (f *file) rotate() (size int64, err error) {
	if err := os.Rename(f.path, f.path+"."+time.Now().UTC().Format(rotatedAt)); err != nil {
		return 0, err
	}
	if f.keep > 0 {
		old, err := rotated(f.path)
		if err != nil {
			return 0, err
		}
		for _, path := range old[:max(0, len(old)-f.keep)] {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return 0, err
			}
		}
	}
	return f.lock()
}

func (f *file) Close() error {
	if f.open == nil {
		return nil
	}
	open := f.open
	f.open = nil
	return open.Close()
}

// rotated returns the rotated files of path, the oldest first.
func rotated(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	var paths []string
	for _, entry := range entries {
		suffix, found := strings.CutPrefix(entry.Name(), filepath.Base(path)+".")
		if _, err := time.Parse(rotatedAt, suffix); found && err == nil {
			paths = append(paths, path+"."+suffix)
		}
	}
	slices.Sort(paths)
	return paths, nil
}
