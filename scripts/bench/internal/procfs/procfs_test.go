package procfs

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseReadsPastNamesWithParentheses(t *testing.T) {
	s, err := parse("4711 (postgres: (x) y) S 42 1 1 0 -1 4194560 10 20 0 0 150 50 300 100 20 0 1 0 99 1000 200")
	require.NoError(t, err)
	require.Equal(t, stat{parent: 42, own: 2 * time.Second, ended: 4 * time.Second}, s)
}

func TestParseRefusesWhatIsNoStat(t *testing.T) {
	for _, line := range []string{"", "1 (x", "1 (x) S 1 2", "1 (x) S a 1 1 0 -1 0 0 0 0 0 b 0 0 0"} {
		_, err := parse(line)
		require.Error(t, err, line)
	}
}

func TestTreeCountsEndedChildren(t *testing.T) {
	before, err := TreeCPU(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done").Run())
	own, err := CPU(os.Getpid())
	require.NoError(t, err)
	after, err := TreeCPU(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, after, before)
	require.Greater(t, after, own)
}

func TestMemoryOfThisProcess(t *testing.T) {
	now, err := Memory(os.Getpid())
	require.NoError(t, err)
	peak, err := PeakMemory(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, now)
	require.GreaterOrEqual(t, peak, now)
}

func TestFilesAreCounted(t *testing.T) {
	before, err := Files(os.Getpid())
	require.NoError(t, err)
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	after, err := Files(os.Getpid())
	require.NoError(t, err)
	require.Equal(t, before+1, after)
}
