package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// The services' binaries.
const (
	workerName = "ingest-worker"
	readerName = "read-api"
)

// stopPromise is within what time a service ends after SIGTERM, with what a
// loaded machine adds.
const stopPromise = 30 * time.Second

// service is one of the processes, and whatever takes its place.
type service struct {
	site    *site
	name    string
	program string
	addr    string // of a reader's API
	process *process.Process
	output  *os.File
	silent  int64 // size of the log when the process was started
}

func newService(s *site, program string, n int) *service {
	return &service{site: s, name: fmt.Sprintf("%s-%d", program, n), program: program}
}

// log is the file of what the service says, over all of its lives.
func (w *service) log() string { return filepath.Join(w.site.logs, w.name+".log") }

func (w *service) start() error {
	output, err := os.OpenFile(w.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := output.Stat()
	if err != nil {
		return errors.Join(err, output.Close())
	}
	w.silent = info.Size()
	cmd := exec.Command(filepath.Join(w.site.binaries, w.program))
	cmd.Dir = w.site.logs // where no .env lies
	cmd.Env = append(w.site.settings(), "HTTP_ADDR="+w.addr)
	cmd.Stdout, cmd.Stderr = output, output
	p, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return errors.Join(err, output.Close())
	}
	w.process, w.output = p, output
	return nil
}

// alive is an error where the service has ended by itself.
func (w *service) alive() error {
	select {
	case <-w.process.Done():
		return fmt.Errorf("%s has ended by itself: %w", w.name, w.process.Err())
	default:
		return nil
	}
}

// kill ends the service with SIGKILL.
func (w *service) kill(ctx context.Context) {
	if w.process == nil {
		return
	}
	_ = w.process.Stop(ctx, syscall.SIGKILL) // the signal is how it ends
	_ = w.output.Close()
	w.process = nil
}

// terminate ends the service with SIGTERM, which it is to answer with exit code 0.
func (w *service) terminate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPromise)
	defer cancel()
	w.awaitWord(ctx)
	err := errors.Join(w.process.Stop(ctx, syscall.SIGTERM), w.process.Err(), w.output.Close())
	w.process = nil
	if err != nil {
		return fmt.Errorf("stop %s: %w", w.name, err)
	}
	return nil
}

// awaitWord returns once the process has said something: before, it may not have
// come so far as to take a signal.
func (w *service) awaitWord(ctx context.Context) {
	for w.alive() == nil {
		info, err := w.output.Stat()
		if err != nil || info.Size() > w.silent || sleep(ctx, 5*time.Millisecond) != nil {
			return
		}
	}
}

// freeze stops the service for a while with SIGSTOP.
func (w *service) freeze(ctx context.Context, d time.Duration) error {
	if err := w.process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	_ = sleep(ctx, d) // it goes on in any case
	return w.process.Signal(syscall.SIGCONT)
}
