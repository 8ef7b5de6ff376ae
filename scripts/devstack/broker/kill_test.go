package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

// dirVariable makes the test binary run a broker on that folder until it is killed.
const dirVariable = "DEVSTACK_TEST_BROKER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		runUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func options(dir string) broker.Options {
	return broker.Options{DataDir: dir, Topics: map[string]broker.Topic{"orders": {Partitions: 3}}}
}

func runUntilKilled(dir string) {
	b, err := broker.Start(context.Background(), options(dir))
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(b.Addr())
	select {}
}

func TestDataIsKeptOverAKill(t *testing.T) {
	dir := t.TempDir()
	killed := exec.Command(os.Args[0])
	killed.Env = append(os.Environ(), dirVariable+"="+dir)
	stdout, err := killed.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, killed.Start())
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	fill(t, strings.TrimSpace(addr))
	require.NoError(t, killed.Process.Kill())
	require.Error(t, killed.Wait())

	requireFilled(t, broker.StartForTest(t, options(dir)).Addr())
}
