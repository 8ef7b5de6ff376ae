// Package datadir keeps a second process away from a data folder in use.
package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const lockFile = "lock"

// InUseError reports a folder that another process has locked.
type InUseError struct {
	Dir string
	Pid string // the holder's process id as the lock file has it, perhaps empty
}

func (e *InUseError) Error() string {
	if e.Pid == "" {
		return "data folder " + e.Dir + " is in use by another process"
	}
	return "data folder " + e.Dir + " is in use by process " + e.Pid
}

// Lock is a held lock. It ends with Release or with the process, however that ends.
type Lock struct {
	file      *os.File
	abandoned bool
}

// Acquire makes dir where it is missing and locks it for this process. It
// doesn't wait: a folder in use is an [*InUseError].
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = file.Close() }()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			holder, _ := os.ReadFile(file.Name())
			return nil, &InUseError{Dir: dir, Pid: strings.TrimSpace(string(holder))}
		}
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	lock := &Lock{file: file}
	if info, err := file.Stat(); err == nil {
		lock.abandoned = info.Size() > 0
	}
	if err := file.Truncate(0); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock file: %w", err), lock.Release())
	}
	if _, err := fmt.Fprintln(file, os.Getpid()); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock file: %w", err), lock.Release())
	}
	return lock, nil
}

// Abandoned tells whether the former holder died without Release: then what it
// started may still be shutting down.
func (l *Lock) Abandoned() bool { return l.abandoned }

// Release lets others have the folder. The lock file stays: removing it would
// let two processes each lock a file of that name.
func (l *Lock) Release() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
}
