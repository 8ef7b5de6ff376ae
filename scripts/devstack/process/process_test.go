package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// parentVariable makes the test binary play a parent that is going to be killed;
// its value says how it watches over its child.
const parentVariable = "DEVSTACK_TEST_PARENT"

func TestMain(m *testing.M) {
	if watch := os.Getenv(parentVariable); watch != "" {
		playParent(watch)
	}
	goleak.VerifyTestMain(m)
}

// playParent starts a child that holds standard output open, says so, and waits
// to be killed.
func playParent(watch string) {
	cmd := exec.Command("sleep", "1000")
	cmd.Stdout = os.Stdout
	var err error
	if watch == "pipe" {
		if err = cmd.Start(); err == nil {
			_, err = watchByPipe(cmd.Process.Pid, syscall.SIGTERM)
		}
	} else {
		_, err = Start(cmd, syscall.SIGTERM)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Print("ready")
	select {} // until SIGKILL
}

func TestChildEndsWithItsKilledParent(t *testing.T) {
	for _, watch := range []string{"start", "pipe"} {
		t.Run(watch, func(t *testing.T) {
			output, input, err := os.Pipe()
			require.NoError(t, err)
			defer func() { _ = output.Close() }()
			parent := exec.Command(os.Args[0])
			parent.Env = append(os.Environ(), parentVariable+"="+watch)
			parent.Stdout = input
			require.NoError(t, parent.Start())
			require.NoError(t, input.Close())
			ready := make([]byte, len("ready"))
			_, err = io.ReadFull(output, ready)
			require.NoError(t, err)
			require.Equal(t, "ready", string(ready))

			require.NoError(t, parent.Process.Kill())
			_ = parent.Wait()
			// The end of the output is the end of all who held it: parent and child.
			require.NoError(t, output.SetReadDeadline(time.Now().Add(30*time.Second)))
			_, err = output.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		})
	}
}

func TestReleasedPipeWatchSendsNothing(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	release, err := watchByPipe(cmd.Process.Pid, syscall.SIGTERM)
	require.NoError(t, err)
	release()
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.ErrorContains(t, cmd.Wait(), "killed")
}

func TestStop(t *testing.T) {
	p, err := Start(exec.Command("sleep", "1000"), syscall.SIGKILL)
	require.NoError(t, err)
	require.NoError(t, p.Stop(context.Background(), syscall.SIGTERM))
	require.ErrorContains(t, p.Err(), "terminated")
	require.NoError(t, p.Stop(context.Background(), syscall.SIGTERM), "an ended child is no error")
}

func TestStopKillsWhatDoesNotStop(t *testing.T) {
	cmd := exec.Command("sh", "-c", `trap "" TERM; echo ready; while :; do sleep 1000; done`)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p, err := Start(cmd, syscall.SIGKILL)
	require.NoError(t, err)
	_, err = stdout.Read(make([]byte, 1))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Stop(ctx, syscall.SIGTERM), context.DeadlineExceeded)
	require.NoError(t, syscall.Kill(-p.Pid(), syscall.SIGKILL), "end the shell's own sleep")
}

func TestMissingProgram(t *testing.T) {
	_, err := Start(exec.Command("/no/such/program"), syscall.SIGKILL)
	require.ErrorIs(t, err, os.ErrNotExist)
}
