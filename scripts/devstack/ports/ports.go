// Package ports finds free TCP ports on loopback and says which are taken.
package ports

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
)

// TakenError reports an address on which something already listens.
type TakenError struct {
	Addr string // host:port
}

func (e *TakenError) Error() string { return e.Addr + " is taken by another process" }

// Check reports a [*TakenError] where addr (host:port) can't be listened on
// because something already does, and any other reason as it is.
func Check(addr string) error {
	listener, err := listen(addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return &TakenError{Addr: addr}
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	return listener.Close()
}

// Free returns a port that is free on 127.0.0.1 now. Another process may take
// it before the caller does, so whoever needs certainty tries again.
func Free() (int, error) {
	listener, err := listen(Loopback(0))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	addr, err := netip.ParseAddrPort(listener.Addr().String())
	return int(addr.Port()), errors.Join(err, listener.Close())
}

// listen takes no time that a caller would want to cut short.
func listen(addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
}

// Loopback is 127.0.0.1 with port.
func Loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// lasting are the ports that Lasting has returned, or found taken.
var lasting sync.Map

// Lasting returns a port that is free on 127.0.0.1 now, and that the system does
// not give to outgoing connections: a server that is down for a while finds it
// free again, and a client that knocks meanwhile cannot meet itself. No port is
// returned twice.
func Lasting() (int, error) {
	const from, to, attempts = 15_000, 32_000, 100 // Linux and macOS give out ports above
	for range attempts {
		port := from + rand.IntN(to-from)
		if _, again := lasting.LoadOrStore(port, true); !again && Check(Loopback(port)) == nil {
			return port, nil
		}
	}
	return 0, errors.New("find a free port: none of those that were tried")
}
