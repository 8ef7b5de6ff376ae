// Package process starts child processes that don't outlive this one.
//
// Whatever ends this process, SIGKILL and crashes included, its children get
// the signal they were started with. On Linux the kernel sends it (the parent
// death signal); elsewhere a small watching shell does, which notices that its
// standard input has been closed.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// outputDelay bounds how long the end of a child waits for descendants that
// still hold its output open.
const outputDelay = 10 * time.Second

// runGrace is how long a child of Run may take to stop.
const runGrace = 3 * time.Second

// Process is a running child. Its methods may be called concurrently.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // the result of cmd.Wait; written before done is closed
}

// Start runs cmd in a process group of its own, so that a terminal's Ctrl-C
// reaches this process alone and it decides in which order its children stop.
// When this process dies, the child gets onDeath.
func Start(cmd *exec.Cmd, onDeath syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = outputDelay
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(onDeath, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// run starts the child and waits for it, all on one operating system thread:
// Linux ties the parent death signal to the thread that forked, not to the
// process, so that thread must live as long as the child.
func (p *Process) run(onDeath syscall.Signal, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	bindToParent(p.cmd.SysProcAttr, onDeath)
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	release, err := watchParent(p.cmd.Process.Pid, onDeath)
	if err != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		started <- err
		return
	}
	started <- nil
	p.err = p.cmd.Wait()
	release()
	close(p.done)
}

// Pid is the child's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed once the child has ended and its output has been read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how the child ended: nil for exit code 0. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Signal sends sig to the child. A child that has already ended is no error.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %v to %s (pid %d): %w", sig, p.cmd.Path, p.Pid(), err)
	}
	return nil
}

// Stop sends sig and waits for the child's end. When ctx ends first, the child
// is killed, and the error says so.
func (p *Process) Stop(ctx context.Context, sig os.Signal) error {
	if err := p.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		_ = p.Signal(syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s (pid %d) did not stop in time and was killed: %w", p.cmd.Path, p.Pid(), ctx.Err())
	}
}

// Run runs cmd to its end. When ctx ends first, the child gets SIGTERM, and
// SIGKILL if it needs longer than runGrace to stop.
func Run(ctx context.Context, cmd *exec.Cmd) error {
	p, err := Start(cmd, syscall.SIGKILL)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), runGrace)
		defer cancel()
		return errors.Join(context.Cause(ctx), p.Stop(stopping, syscall.SIGTERM))
	}
}

const (
	tailBytes    = 4000
	readyPolling = 20 * time.Millisecond
)

// Daemon is a program that can be started again and again. All its output goes to
// one log. Its methods may be called concurrently.
type Daemon struct {
	Name    string
	LogFile string
	// Log takes the output instead of LogFile.
	Log io.Writer
	// OnDeath is what the program gets when this process dies; 0 means SIGKILL.
	OnDeath syscall.Signal

	command func() *exec.Cmd
	mu      sync.Mutex
	proc    *Process // the last one started; nil before the first start
	running bool     // between Start and Stop, also where the program has ended by itself
	tail    tail     // of Log
}

// NewDaemon returns a program that doesn't run yet. command prepares each start.
func NewDaemon(name, logFile string, command func() *exec.Cmd) *Daemon {
	return &Daemon{Name: name, LogFile: logFile, command: command}
}

// Start runs the program; it waits for nothing.
func (d *Daemon) Start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running {
		return fmt.Errorf("%s runs already", d.Name)
	}
	cmd := d.command()
	if d.Log != nil {
		output := io.MultiWriter(&d.tail, d.Log)
		cmd.Stdout, cmd.Stderr = output, output
	} else {
		log, err := os.OpenFile(d.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = log.Close() }() // the program has its own
		cmd.Stdout, cmd.Stderr = log, log
	}
	proc, err := Start(cmd, cmp.Or(d.OnDeath, syscall.SIGKILL))
	if err != nil {
		return err
	}
	d.proc, d.running = proc, true
	return nil
}

// Stop sends sig and waits for the program's end. When ctx ends first, the
// program is killed, and the error says so. A program that doesn't run is no
// error.
func (d *Daemon) Stop(ctx context.Context, sig os.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.running {
		return nil
	}
	d.running = false
	return d.proc.Stop(ctx, sig)
}

// Signal sends sig to the program, which must run.
func (d *Daemon) Signal(sig os.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.running {
		return fmt.Errorf("%s doesn't run", d.Name)
	}
	return d.proc.Signal(sig)
}

// Kill ends the program with SIGKILL. A program that doesn't run is no error.
func (d *Daemon) Kill() error { return d.Stop(context.Background(), syscall.SIGKILL) }

// Pause freezes the program (SIGSTOP): connections stay open and nothing answers.
func (d *Daemon) Pause() error { return d.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (d *Daemon) Resume() error { return d.Signal(syscall.SIGCONT) }

// Running says whether the program was started and not stopped. One that is
// frozen by SIGSTOP runs.
func (d *Daemon) Running() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running
}

// Process is the one that was started last; nil before the first start.
func (d *Daemon) Process() *Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.proc
}

// Pid is the process id of the one that was started last.
func (d *Daemon) Pid() int { return d.Process().Pid() }

// Alive returns an error where the program has ended by itself.
func (d *Daemon) Alive() error {
	proc := d.Process()
	select {
	case <-proc.Done():
		return fmt.Errorf("%s has ended by itself: %w\n%s", d.Name, proc.Err(), d.Tail())
	default:
		return nil
	}
}

// WaitReady returns once ready returns nil. It fails when the program ends, or
// when ctx does.
func (d *Daemon) WaitReady(ctx context.Context, ready func(context.Context) error) error {
	proc := d.Process()
	last := errors.New("no answer yet")
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-proc.Done():
			return d.Alive()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w\n%s", d.Name, context.Cause(ctx), last, d.Tail())
		case <-time.After(readyPolling):
		}
	}
}

// Tail is the end of the log.
func (d *Daemon) Tail() string {
	if d.Log != nil {
		return d.tail.String()
	}
	content, err := os.ReadFile(d.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-tailBytes):])
}

type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	t.last = slices.Delete(t.last, 0, max(0, len(t.last)-tailBytes))
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}

// watchByPipe starts a shell that sends sig to pid once its standard input is
// closed, which happens at the latest when this process ends. release ends the
// shell without a signal being sent.
func watchByPipe(pid int, sig syscall.Signal) (release func(), err error) {
	script := `read -r line && exit 0; kill -"$1" "$2" 2>/dev/null`
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", script, "sh", strconv.Itoa(int(sig)), strconv.Itoa(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("watch for this process's end: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("watch for this process's end: %w", err)
	}
	return func() {
		_, _ = io.WriteString(stdin, "released\n")
		_ = cmd.Wait()
	}, nil
}
