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

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// The services' binaries.
const (
	workerName = "ingest-worker"
	readerName = "read-api"
)

// stopPromise is how long a service may take to end after SIGTERM on a loaded
// machine.
const stopPromise = 30 * time.Second

// service is one of the processes, and those that replace it.
type service struct {
	*process.Daemon
	addr    string // of a reader's API
	logSize int64  // when the process was started
}

func newService(s *site, program string, n int, addr string) *service {
	name := fmt.Sprintf("%s-%d", program, n)
	return &service{addr: addr, Daemon: process.NewDaemon(name, filepath.Join(s.logs, name+".log"), func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(s.binaries, program))
		cmd.Dir = s.logs // has no .env
		cmd.Env = append(s.settings(), "HTTP_ADDR="+addr)
		return cmd
	})}
}

func (w *service) start() error {
	w.logSize = w.size()
	return w.Start()
}

// size is how long the log is.
func (w *service) size() int64 {
	info, err := os.Stat(w.LogFile)
	if err != nil {
		return 0
	}
	return info.Size()
}

// terminate ends the service with SIGTERM. It must end with exit code 0.
func (w *service) terminate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPromise)
	defer cancel()
	// Before its first log line the process may not handle the signal yet.
	for w.Alive() == nil && w.size() == w.logSize && retry.Sleep(ctx, 5*time.Millisecond) == nil {
	}
	if err := errors.Join(w.Stop(ctx, syscall.SIGTERM), w.Process().Err()); err != nil {
		return fmt.Errorf("stop %s: %w", w.Name, err)
	}
	return nil
}
