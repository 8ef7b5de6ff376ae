package ports_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

func TestCheck(t *testing.T) {
	port, err := ports.Free()
	require.NoError(t, err)
	addr := ports.Loopback(port)
	require.NoError(t, ports.Check(addr))

	listener, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	var taken *ports.TakenError
	require.ErrorAs(t, ports.Check(addr), &taken)
	require.Equal(t, addr, taken.Addr)

	err = ports.Check("no-such-host.invalid:1")
	require.Error(t, err)
	require.NotErrorAs(t, err, &taken)
}

func TestPortsAreGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 1000 { // far more than chance would let pass
		port, err := ports.Free()
		require.NoError(t, err)
		require.Less(t, port, 32_768, "the system gives such ports to outgoing connections")
		require.False(t, given[port], "port %d is returned twice", port)
		given[port] = true
	}
	first, err := ports.Adjacent(3)
	require.NoError(t, err)
	for port := first; port < first+3; port++ {
		require.False(t, given[port], "port %d is returned twice", port)
		require.NoError(t, ports.Check(ports.Loopback(port)))
	}
}

// otherVariable makes the test binary play another process.
const otherVariable = "DEVSTACK_TEST_PORTS"

// Two processes take more ports than chance would keep apart.
func TestProcessesGetDifferentPorts(t *testing.T) {
	mine := map[string]bool{}
	for range 2000 {
		port, err := ports.Free()
		require.NoError(t, err)
		mine[strconv.Itoa(port)] = true
	}
	if os.Getenv(otherVariable) != "" {
		for port := range mine {
			fmt.Println("port", port)
		}
		return
	}
	other := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	other.Env = append(os.Environ(), otherVariable+"=1")
	output, err := other.Output()
	require.NoError(t, err)
	count := 0
	for line := range strings.Lines(string(output)) {
		if port, found := strings.CutPrefix(strings.TrimSpace(line), "port "); found {
			require.False(t, mine[port], "both processes have port %s", port)
			count++
		}
	}
	require.Equal(t, 2000, count)
}
