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

// ticks a second: what Linux calls USER_HZ, which is 100 on all platforms that
// Go supports.
const ticks = 100

func cpu(parts ...uint) time.Duration {
	var sum uint
	for _, part := range parts {
		sum += part
	}
	return time.Duration(sum) * (time.Second / ticks)
}

// CPU is the time that the process has used so far, user and system, to 10 ms.
func CPU(pid int) (time.Duration, error) {
	s, err := stat(pid)
	return cpu(s.UTime, s.STime), err
}

// TreeCPU is the time that the process and its children have used so far,
// including children that have ended and were waited for. Grandchildren count
// once they have ended.
func TreeCPU(pid int) (time.Duration, error) {
	root, err := stat(pid)
	if err != nil {
		return 0, err
	}
	total := cpu(root.UTime, root.STime, uint(root.CUTime), uint(root.CSTime))
	all, err := procfs.AllProcs()
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, p := range all {
		s, err := p.Stat()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended since, and its parent's figures have it next time
		}
		if err != nil {
			return 0, fmt.Errorf("CPU of process %d: %w", p.PID, err)
		}
		if s.PPID == pid {
			total += cpu(s.UTime, s.STime)
		}
	}
	return total, nil
}

func stat(pid int) (procfs.ProcStat, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, fmt.Errorf("CPU of process %d: %w", pid, err)
	}
	return p.Stat()
}

// Self is the time that this process has used so far, to a microsecond.
func Self() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // the arguments are constant
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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
