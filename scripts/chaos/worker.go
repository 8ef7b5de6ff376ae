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

	"github.com/orderhub/orderhub/libs/devstack/process"
)

// stopPromise is within what time a worker ends after SIGTERM, with what a
// loaded machine adds.
const stopPromise = 30 * time.Second

// worker is one of the worker processes, and whatever takes its place.
type worker struct {
	site    *site
	id      int
	process *process.Process
	output  *os.File
}

func (w *worker) start() error {
	output, err := os.OpenFile(filepath.Join(w.site.logs, fmt.Sprintf("worker-%d.log", w.id)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(w.site.binary)
	cmd.Dir = w.site.logs // where no .env lies
	cmd.Env = append(os.Environ(),
		"KAFKA_BROKERS="+w.site.broker.Addr(), "KAFKA_TOPIC="+topic, "KAFKA_DLQ_TOPIC="+dlq, "KAFKA_GROUP="+group,
		"DATABASE_URL="+w.site.database.URL(), "ADMIN_ADDR=127.0.0.1:0", "LOG_FORMAT=console", "LOG_LEVEL=info",
		fmt.Sprint("KAFKA_SESSION_TIMEOUT=", sessionTimeout), "DATABASE_WRITE_TIMEOUT=3s", "INGEST_MAX_BATCH_RECORDS=500")
	cmd.Stdout, cmd.Stderr = output, output
	p, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return errors.Join(err, output.Close())
	}
	w.process, w.output = p, output
	return nil
}

// alive is an error where the worker has ended by itself.
func (w *worker) alive() error {
	select {
	case <-w.process.Done():
		return fmt.Errorf("worker %d has ended by itself: %w", w.id, w.process.Err())
	default:
		return nil
	}
}

// kill ends the worker with SIGKILL.
func (w *worker) kill(ctx context.Context) {
	if w.process == nil {
		return
	}
	_ = w.process.Stop(ctx, syscall.SIGKILL) // the signal is how it ends
	_ = w.output.Close()
	w.process = nil
}

// terminate ends the worker with SIGTERM, which it is to answer with exit code 0.
func (w *worker) terminate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPromise)
	defer cancel()
	err := errors.Join(w.process.Stop(ctx, syscall.SIGTERM), w.output.Close())
	w.process = nil
	if err != nil {
		return fmt.Errorf("stop worker %d: %w", w.id, err)
	}
	return nil
}

func (w *worker) restart(ctx context.Context) error {
	if err := w.terminate(ctx); err != nil {
		return err
	}
	return w.start()
}

// freeze stops the worker for a while with SIGSTOP.
func (w *worker) freeze(ctx context.Context, d time.Duration) error {
	if err := w.process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return w.process.Signal(syscall.SIGCONT)
}
