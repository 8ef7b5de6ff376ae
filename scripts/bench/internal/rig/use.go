package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// Use is what was used to do something a number of times.
type Use struct {
	Times int
	Took  time.Duration
	// CPU time by who used it. The client is what is measured: services, a program, or
	// this one where it does the work itself.
	Client, Database, Broker time.Duration
	WAL                      int64   // bytes
	Commits                  int64   // transactions that wrote
	Peak                     int64   // the largest client's memory, in bytes
	Allocs                   float64 // of the clients
	Waits                    Waits   // of the database's processes; nil: not sampled
}

// Seconds is how long all took.
func (u Use) Seconds() float64 { return u.Took.Seconds() }

// Rate is how often it was done a second.
func (u Use) Rate() float64 { return float64(u.Times) / u.Took.Seconds() }

// ClientCost is the client's CPU time each time, in microseconds.
func (u Use) ClientCost() float64 { return u.each(u.Client) }

// DatabaseCost is the same of the database.
func (u Use) DatabaseCost() float64 { return u.each(u.Database) }

// BrokerCost is the same of the broker.
func (u Use) BrokerCost() float64 { return u.each(u.Broker) }

func (u Use) each(cpu time.Duration) float64 { return cpu.Seconds() * 1e6 / float64(u.Times) }

// Cores is how many cores were busy for us.
func (u Use) Cores() float64 { return (u.Client + u.Database + u.Broker).Seconds() / u.Took.Seconds() }

// PeakMiB is the memory of the largest client.
func (u Use) PeakMiB() float64 { return float64(u.Peak) / (1 << 20) }

// Meter reads what is used.
type Meter struct {
	Site    *Site
	Clients []*Service // and Programs none: this program is the client
	// Waits has Use.Waits sampled, at the cost of a small query each 50 ms.
	Waits bool
	// Programs are further clients, of others, by their process ids.
	Programs []int
}

// During measures what work uses to do something so often.
func (m Meter) During(ctx context.Context, times int, work func()) Use {
	before := m.read(ctx)
	stop := func() Waits { return nil }
	if m.Waits {
		stop = m.Site.Server.sampleWaits(ctx)
	}
	began := time.Now()
	work()
	took := time.Since(began)
	waits := stop()
	u := m.read(ctx)
	u.Waits = waits
	u.Times, u.Took = times, took
	u.Client, u.Database, u.Broker = u.Client-before.Client, u.Database-before.Database, u.Broker-before.Broker
	u.WAL, u.Commits, u.Allocs = u.WAL-before.WAL, u.Commits-before.Commits, u.Allocs-before.Allocs
	return u
}

// read is what has been used so far. The broker counts where services use it.
func (m Meter) read(ctx context.Context) (u Use) {
	if len(m.Clients)+len(m.Programs) == 0 {
		u.Client = must.Get(UsageOf(os.Getpid())).CPU
	} else {
		u.Broker = must.Get(UsageOf(m.Site.Broker.Pid())).CPU
	}
	pids := m.Programs
	for _, client := range m.Clients {
		pids = append(pids, client.Pid())
		u.Allocs += client.Metrics(ctx)["go_memstats_mallocs_total"]
	}
	for _, pid := range pids {
		used := must.Get(UsageOf(pid))
		u.Client += used.CPU
		u.Peak = max(u.Peak, used.Peak)
	}
	u.WAL, u.Commits = m.Site.Server.Written(ctx)
	u.Database = TreeCPU(m.Site.Server.Pid())
	return u
}

// RunProgram measures a program from its start to its end, in which it does something
// so often, and returns what it printed.
func RunProgram(cmd *exec.Cmd, times int) (u Use, output []byte) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	must.Succeed(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for running := true; running; {
		// The kernel keeps the peak until the process ends, so only the last moment
		// is missed. (What it reports of an ended child includes the parent's memory,
		// which the child had between fork and exec.)
		if used, err := UsageOf(cmd.Process.Pid); err == nil {
			u.Peak = max(u.Peak, used.Peak)
		}
		select {
		case err := <-ended:
			if running = false; err != nil {
				must.Succeed(fmt.Errorf("%w: %s", err, stderr.Bytes()))
			}
		case <-time.After(2 * time.Millisecond):
		}
	}
	u.Times, u.Took = times, time.Since(began)
	u.Client = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return u, stdout.Bytes()
}

// Pause is the time before the i-th of single orders. It varies, so as not to coincide
// with anything periodic.
func Pause(i int) time.Duration { return time.Duration(3+i%7) * time.Millisecond }

// WarmUp is how many first times Singly does not count: connections are opened then.
const WarmUp = 5

// Singly does something time after time, each time into idle services. It says whether
// the time counts.
func Singly(ctx context.Context, times int, once func(i int, counts bool)) {
	for i := range WarmUp + times {
		must.Succeed(retry.Sleep(ctx, Pause(i)))
		once(i, i >= WarmUp)
	}
}

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
