// Package datadir locks a data folder for one process.
package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

const lockFile = "lock" // holds the process id of its holder

// InUseError reports a folder that another process has locked.
type InUseError struct {
	Dir string
	Pid string // of the holder, from the lock file; may be empty
}

func (e *InUseError) Error() string {
	if e.Pid == "" {
		return "data folder " + e.Dir + " is in use by another process"
	}
	return "data folder " + e.Dir + " is in use by process " + e.Pid
}

// Lock is a held lock. It ends with Release or with the process, however that ends.
type Lock struct {
	flock     *flock.Flock
	abandoned bool
}

// Acquire makes dir where it is missing and locks it for this process. It doesn't
// wait: a folder in use is an [*InUseError].
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	path := filepath.Join(dir, lockFile)
	lock := &Lock{flock: flock.New(path, flock.SetPermissions(0o600))}
	held, err := lock.flock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	holder, _ := os.ReadFile(path)
	if !held {
		return nil, &InUseError{Dir: dir, Pid: strings.TrimSpace(string(holder))}
	}
	lock.abandoned = len(holder) > 0
	if err := os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock file: %w", err), lock.Release())
	}
	return lock, nil
}

// Abandoned tells whether the former holder died without Release: then processes
// that it started may still be shutting down.
func (l *Lock) Abandoned() bool { return l.abandoned }

// Release unlocks the folder. The lock file stays: removing it would let two
// processes each lock a file of that name.
func (l *Lock) Release() error {
	err := os.Truncate(l.flock.Path(), 0)
	if errors.Is(err, os.ErrNotExist) { // the folder was temporary
		err = nil
	}
	return errors.Join(err, l.flock.Unlock())
}
