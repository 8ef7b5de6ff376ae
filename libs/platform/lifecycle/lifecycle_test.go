package lifecycle

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func untilStop(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestLoopRunsFromStartUntilStop(t *testing.T) {
	var running atomic.Bool
	began := make(chan struct{})
	loop := NewLoop("work", func(ctx context.Context) error {
		running.Store(true)
		defer running.Store(false)
		close(began)
		return untilStop(ctx)
	}, func(err error) { t.Errorf("a loop that is stopped did not die: %v", err) })

	starting, cancel := context.WithCancel(t.Context())
	require.NoError(t, loop.Start(starting))
	cancel() // bounds the start, not the work
	<-began
	require.True(t, running.Load())
	require.ErrorContains(t, loop.Start(t.Context()), "work: started twice")
	loop.Stop()
	require.False(t, running.Load(), "Stop waits for the loop")
	loop.Stop()
	require.Error(t, loop.Start(t.Context()))
}

func TestStopBeforeStart(t *testing.T) {
	loop := NewLoop("work", func(context.Context) error { t.Error("runs after Stop"); return nil }, nil)
	loop.Stop()
	require.ErrorIs(t, loop.Start(t.Context()), ErrStopped)
	loop.Stop()
}

func TestADeadLoopIsReported(t *testing.T) {
	broken := errors.New("broken")
	for err, want := range map[error]string{broken: "work: broken", nil: "work ended unexpectedly"} {
		died := make(chan error, 1)
		loop := NewLoop("work", func(context.Context) error { return err }, func(err error) { died <- err })
		require.NoError(t, loop.Start(t.Context()))
		reported := <-died
		require.EqualError(t, reported, want)
		if err != nil {
			require.ErrorIs(t, reported, err)
		}
		loop.Stop()
	}
	loop := NewLoop("work", func(context.Context) error { return nil }, nil)
	require.NoError(t, loop.Start(t.Context()))
	loop.Stop()
}

func TestRunnerRunsNothingAfterStop(t *testing.T) {
	var runner Runner
	ctx := runner.Context()
	require.True(t, runner.Go(func(ctx context.Context) { _ = untilStop(ctx) }))
	require.NoError(t, ctx.Err())
	runner.Stop()
	require.ErrorIs(t, context.Cause(ctx), ErrStopped)
	require.False(t, runner.Go(func(context.Context) { t.Error("runs after Stop") }))
}

// Start, Go and Stop may meet in any order: whatever began has ended when Stop
// returns.
func TestStartStopStress(t *testing.T) {
	for range 500 {
		var running atomic.Int64
		work := func(ctx context.Context) error {
			running.Add(1)
			defer running.Add(-1)
			return untilStop(ctx)
		}
		loop := NewLoop("work", work, func(err error) { t.Error(err) })
		var runner Runner
		var calls sync.WaitGroup
		call := func(do func()) {
			wait := time.Duration(rand.IntN(50)) * time.Microsecond
			calls.Go(func() { time.Sleep(wait); do() })
		}
		for range 2 {
			call(func() { _ = loop.Start(t.Context()) })
			call(func() { runner.Go(func(ctx context.Context) { _ = work(ctx) }) })
			call(func() { loop.Stop(); runner.Stop() })
		}
		calls.Wait()
		loop.Stop()
		runner.Stop()
		require.Zero(t, running.Load())
	}
}
