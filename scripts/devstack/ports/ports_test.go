package ports_test

import (
	"net"
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

func TestLasting(t *testing.T) {
	given := map[int]bool{}
	for range 1000 { // far more than chance would let pass
		port, err := ports.Lasting()
		require.NoError(t, err)
		require.Less(t, port, 32_768, "the system gives such ports to outgoing connections")
		require.False(t, given[port], "port %d is returned twice", port)
		given[port] = true
	}
}
