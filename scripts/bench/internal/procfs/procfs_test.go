package procfs

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTreeCountsEndedChildren(t *testing.T) {
	before, err := TreeCPU(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done").Run())
	own, err := Of(os.Getpid())
	require.NoError(t, err)
	after, err := TreeCPU(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, after, before)
	require.Greater(t, after, own.CPU)
}

func TestMemoryOfThisProcess(t *testing.T) {
	used, err := Of(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, used.Memory)
	require.GreaterOrEqual(t, used.Peak, used.Memory)
}

func TestFilesAreCounted(t *testing.T) {
	before, err := Of(os.Getpid())
	require.NoError(t, err)
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	after, err := Of(os.Getpid())
	require.NoError(t, err)
	require.Equal(t, before.Files+1, after.Files)
}
