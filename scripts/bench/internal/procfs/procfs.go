// Package procfs tells what processes use, by Linux's figures: CPU time, memory,
// files.
package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// tick is the unit of CPU times: Linux's USER_HZ is 100 on all platforms that Go
// supports.
const tick = time.Second / 100

// CPU is the time that the process has used so far, user and system, to 10 ms.
func CPU(pid int) (time.Duration, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, fmt.Errorf("CPU of process %d: %w", pid, err)
	}
	s, err := p.Stat()
	return time.Duration(s.UTime+s.STime) * tick, err
}

// TreeCPU is the time that the process and its children have used so far,
// including children that have ended and were waited for. Grandchildren count
// once they have ended.
func TreeCPU(pid int) (total time.Duration, err error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, p := range all {
		s, err := p.Stat()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended since: from now on its parent's figures include it
		}
		if err != nil {
			return 0, fmt.Errorf("CPU of process %d: %w", p.PID, err)
		}
		switch pid {
		case p.PID:
			total += time.Duration(s.UTime+s.STime+uint(s.CUTime+s.CSTime)) * tick
		case s.PPID:
			total += time.Duration(s.UTime+s.STime) * tick
		}
	}
	return total, nil
}

// Memory is the resident memory of the process in bytes: what it has now, and
// the most that it has had.
func Memory(pid int) (now, peak int64, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	status, err := p.NewStatus()
	return int64(status.VmRSS), int64(status.VmHWM), err
}

// Files is how many file descriptors the process has open.
func Files(pid int) (int, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, fmt.Errorf("files of process %d: %w", pid, err)
	}
	return p.FileDescriptorsLen()
}
