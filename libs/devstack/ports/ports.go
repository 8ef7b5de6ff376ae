// Package ports finds free TCP ports on loopback and says which are taken.
package ports

import (
	"errors"
	"fmt"
	"net"
	"strconv"
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
	listener, err := net.Listen("tcp", addr)
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// Loopback is 127.0.0.1 with port.
func Loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
