// Package lifecycle gives every long-running part the same contract:
//
//	Start(ctx context.Context) error
//	Stop()
//
// Start returns once the part works or runs in the background; its context bounds
// the start alone, not the work. Stop ends the work and returns when nothing of it
// runs any more. Stop is safe before Start, twice, and from several goroutines. A
// part is started once: after Stop it stays stopped.
//
// A part with one background loop embeds a [Loop]. A part that starts goroutines as
// it goes holds a [Runner].
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrStopped is the cause of a Runner's context after Stop, and what Start returns
// after Stop.
var ErrStopped = errors.New("stopped")

// Part is a long-running part of a program.
type Part interface {
	Start(ctx context.Context) error
	Stop()
}

// Runner owns goroutines and ends them together. The zero value is ready for use.
// Safe for concurrent use; do not copy it.
type Runner struct {
	mu      sync.Mutex
	ctx     context.Context
	cancel  context.CancelCauseFunc
	running sync.WaitGroup
}

func (r *Runner) init() {
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithCancelCause(context.Background())
	}
}

// Context ends, with the cause ErrStopped, when Stop is called.
func (r *Runner) Context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	return r.ctx
}

// Go runs work in a goroutine, with a context that ends when Stop is called. After
// Stop it runs nothing and returns false.
func (r *Runner) Go(work func(ctx context.Context)) (started bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	if r.ctx.Err() != nil {
		return false
	}
	r.running.Go(func() { work(r.ctx) })
	return true
}

// Stop ends the context and waits until every goroutine has returned. It must not
// be called from one of them.
func (r *Runner) Stop() {
	r.mu.Lock()
	r.init()
	r.cancel(ErrStopped)
	r.mu.Unlock()
	r.running.Wait()
}

// Loop is a part that runs one function in the background from Start until Stop.
type Loop struct {
	name   string
	run    func(context.Context) error
	fatal  func(error)
	runner Runner

	mu      sync.Mutex
	started bool
}

// NewLoop returns a loop that calls run once, with a context that ends at Stop. A
// run that returns before that is reported to fatal, which may be nil where run
// has an end of its own. fatal is called in the loop's goroutine, so it must not
// wait for Stop.
func NewLoop(name string, run func(ctx context.Context) error, fatal func(error)) *Loop {
	return &Loop{name: name, run: run, fatal: fatal}
}

// Start runs the loop in the background. A second Start, or one after Stop, is an
// error and runs nothing.
func (l *Loop) Start(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started {
		return fmt.Errorf("%s: started twice", l.name)
	}
	if !l.runner.Go(l.supervise) {
		return fmt.Errorf("%s: %w", l.name, ErrStopped)
	}
	l.started = true
	return nil
}

func (l *Loop) supervise(ctx context.Context) {
	err := l.run(ctx)
	switch {
	case ctx.Err() != nil, l.fatal == nil:
	case err == nil:
		l.fatal(fmt.Errorf("%s ended unexpectedly", l.name))
	default:
		l.fatal(fmt.Errorf("%s: %w", l.name, err))
	}
}

// Stop ends the loop and waits for it.
func (l *Loop) Stop() { l.runner.Stop() }
