// Package process starts child processes that don't outlive this one.
//
// Whatever ends this process, SIGKILL and crashes included, its children get
// the signal they were started with. On Linux the kernel sends it (the parent
// death signal); elsewhere a small watching shell does, which notices that its
// standard input has been closed.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
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
	cmd     *exec.Cmd
	name    string
	done    chan struct{}
	err     error // the result of cmd.Wait; written before done is closed
	release func()
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
	p := &Process{cmd: cmd, name: cmd.Path, done: make(chan struct{}), release: func() {}}
	started := make(chan error, 1)
	go p.run(onDeath, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
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
	p.release = release
	started <- nil
	p.err = p.cmd.Wait()
	p.release()
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
		return fmt.Errorf("signal %v to %s (pid %d): %w", sig, p.name, p.Pid(), err)
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
		return fmt.Errorf("%s (pid %d) did not stop in time and was killed: %w", p.name, p.Pid(), ctx.Err())
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
