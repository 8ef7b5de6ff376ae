package process

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDaemonStartsAgainAndKeepsItsLog(t *testing.T) {
	d := NewDaemon("sleeper", filepath.Join(t.TempDir(), "log"), func() *exec.Cmd {
		return exec.Command("sh", "-c", "echo started; exec sleep 1000")
	})
	require.NoError(t, d.Stop(t.Context(), syscall.SIGTERM), "one that doesn't run is no error")
	require.ErrorContains(t, d.Signal(syscall.SIGTERM), "doesn't run")
	for _, want := range []string{"started\n", "started\nstarted\n"} {
		require.NoError(t, d.Start())
		require.ErrorContains(t, d.Start(), "runs already")
		require.NoError(t, d.WaitReady(t.Context(), func(context.Context) error {
			if d.Tail() != want {
				return errors.New("no line yet")
			}
			return nil
		}))
		require.True(t, d.Running())
		require.NoError(t, d.Alive())
		require.NoError(t, d.Stop(t.Context(), syscall.SIGTERM))
		require.False(t, d.Running())
	}
}

func TestDaemonThatEndsIsNotReady(t *testing.T) {
	d := NewDaemon("failing", filepath.Join(t.TempDir(), "log"), func() *exec.Cmd {
		return exec.Command("sh", "-c", "echo cannot work; exit 3")
	})
	require.NoError(t, d.Start())
	err := d.WaitReady(t.Context(), func(context.Context) error { return errors.New("not ready") })
	require.ErrorContains(t, err, "failing has ended by itself: exit status 3")
	require.ErrorContains(t, err, "cannot work")
	require.NoError(t, d.Stop(t.Context(), syscall.SIGTERM))
}

func TestRunStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, Run(ctx, exec.Command("sleep", "1000")), context.DeadlineExceeded)
	require.NoError(t, Run(t.Context(), exec.Command("true")))
}
