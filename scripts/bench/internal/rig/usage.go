package rig

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

// tick is the unit of CPU times: Linux's USER_HZ is 100 on all platforms that Go
// supports.
const tick = time.Second / 100

// Usage is what a process uses, by Linux's figures.
type Usage struct {
	CPU          time.Duration // so far, user and system, to 10 ms
	Memory, Peak int64         // resident, in bytes: now, and the most so far
	Files        int           // open file descriptors
}

// UsageOf is the usage of a process. An error is that it has ended.
func UsageOf(pid int) (u Usage, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return u, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	stat, statErr := p.Stat()
	status, statusErr := p.NewStatus()
	files, filesErr := p.FileDescriptorsLen()
	return Usage{
		CPU: time.Duration(stat.UTime+stat.STime) * tick, Memory: int64(status.VmRSS), Peak: int64(status.VmHWM), Files: files,
	}, errors.Join(statErr, statusErr, filesErr)
}

// TreeCPU is the CPU time that the process and its children have used so far,
// including children that have ended and were waited for. Grandchildren count
// once they have ended.
func TreeCPU(pid int) (total time.Duration) {
	for _, p := range must.Get(procfs.AllProcs()) {
		s, err := p.Stat()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended since: from now on its parent's figures include it
		}
		must.Succeed(err)
		switch pid {
		case p.PID:
			total += time.Duration(s.UTime+s.STime+uint(s.CUTime+s.CSTime)) * tick
		case s.PPID:
			total += time.Duration(s.UTime+s.STime) * tick
		}
	}
	return total
}
