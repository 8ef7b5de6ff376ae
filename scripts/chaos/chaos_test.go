package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/scripts/internal/binaries"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAFewStrikesLoseNothing(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, binaries.Build(folder))
	var stdout, stderr bytes.Buffer
	code := run([]string{"--kills", "8", "--rate", "300", "--kafka", kafkaEmbedded, "--nats", "--binaries", folder}, &stdout, &stderr)
	t.Logf("%s%s", &stderr, &stdout)
	require.Zero(t, code)
	require.Equal(t, 2, strings.Count(stdout.String(), "0 lost, 0 extra, 0 wrong, 0 stale"))
	require.Regexp(t, `[1-9]\d* of erased orders`, stdout.String())
	const some = `[1-9]\d* `
	require.Regexp(t, some+`records of orders that change: `+some+`orders to be stored, `+some+`newer versions, `+some+`duplicates, `+
		some+`stale, `+some+`deletions, `+some+`recreations, `+some+`orders to be gone`, stdout.String())
	require.Regexp(t, `the stream told of [1-9]\d* orders; [1-9]\d* were erased`, stderr.String())
	require.Regexp(t, `[1-9]\d* orders came through NATS, 0 of them lost`, stdout.String())
}

func TestWrongUsageIsRefused(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Equal(t, 2, run([]string{"--kills", "-1"}, &stdout, &stderr))
	require.Equal(t, 2, run([]string{"--kafka", "other"}, &stdout, &stderr))
	require.Equal(t, 2, run([]string{"--only", "a broker"}, &stdout, &stderr))
	require.Equal(t, 2, run([]string{"--only", "bridge"}, &stdout, &stderr))
	require.Equal(t, 2, run([]string{"more"}, &stdout, &stderr))
	require.Equal(t, 1, run([]string{"--binaries", "no/such/folder"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "make build")
}
