package rig

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

func TestTreeCountsEndedChildren(t *testing.T) {
	before := TreeCPU(os.Getpid())
	require.NoError(t, exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done").Run())
	own := must.Get(UsageOf(os.Getpid()))
	after := TreeCPU(os.Getpid())
	require.Greater(t, after, before)
	require.Greater(t, after, own.CPU)
}

func TestMemoryAndFilesOfThisProcess(t *testing.T) {
	before := must.Get(UsageOf(os.Getpid()))
	require.Positive(t, before.Memory)
	require.GreaterOrEqual(t, before.Peak, before.Memory)
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	require.Equal(t, before.Files+1, must.Get(UsageOf(os.Getpid())).Files)
}
