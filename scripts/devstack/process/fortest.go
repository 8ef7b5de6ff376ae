package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// StrictVariable is the environment variable that, when 1, has tests fail for what
// the machine lacks, instead of being skipped.
const StrictVariable = "ORDERHUB_TEST_STRICT"

// SkipForTest skips a test for what the machine lacks, with a line on standard error,
// or fails it where StrictVariable is 1.
func SkipForTest(tb testing.TB, lack string) {
	tb.Helper()
	if os.Getenv(StrictVariable) == "1" {
		tb.Fatal(lack)
	}
	_, _ = fmt.Fprintf(os.Stderr, "%s IS SKIPPED: %s\n", tb.Name(), lack)
	tb.Skip(lack)
}

// NeedForTest returns the path of the first of the programs that is there; without one,
// [SkipForTest].
func NeedForTest(tb testing.TB, programs ...string) string {
	tb.Helper()
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path
		}
	}
	SkipForTest(tb, fmt.Sprintf("no %s on PATH", programs[0]))
	return ""
}

// readyTimeout is for a program on a machine with other work.
const readyTimeout = time.Minute

// StartForTest runs a program until the end of the test, and returns once ready returns
// nil. Its log is told if the test fails.
func StartForTest(tb testing.TB, name string, command func() *exec.Cmd, ready func(context.Context) error) *Daemon {
	tb.Helper()
	d := NewDaemon(name, filepath.Join(tb.TempDir(), name+".log"), command)
	require.NoError(tb, d.Start())
	tb.Cleanup(func() {
		_ = d.Kill() // nothing resists this signal
		if tb.Failed() {
			tb.Logf("%s: %s", name, d.Tail())
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	require.NoError(tb, d.WaitReady(ctx, ready))
	return d
}
