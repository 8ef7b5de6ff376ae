// Package ports finds free TCP ports on loopback and says which are taken.
package ports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// TakenError reports an address on which something already listens.
type TakenError struct {
	Addr string // host:port
}

func (e *TakenError) Error() string { return e.Addr + " is taken by another process" }

// Check returns a [*TakenError] where something listens on addr (host:port), and
// other errors as they are.
func Check(addr string) error {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return &TakenError{Addr: addr}
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	return listener.Close()
}

// Loopback is 127.0.0.1 with port.
func Loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// Listen is the address to listen on for a server that others call by host: all
// addresses, so that clients on this machine may go on to use the loopback; or the
// loopback alone where host is "".
func Listen(host string, port int) string {
	if host == "" {
		return Loopback(port)
	}
	return net.JoinHostPort("", strconv.Itoa(port))
}

// Outward is an address by which other machines, and containers, may reach this one; ""
// where it has none but the loopback.
func Outward() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	found := ""
	for _, address := range addresses {
		network, ok := address.(*net.IPNet)
		if !ok || !network.IP.IsGlobalUnicast() {
			continue
		}
		if network.IP.To4() != nil {
			return network.IP.String()
		}
		found = cmp.Or(found, network.IP.String())
	}
	return found
}

// Free returns a free port of 127.0.0.1; see [Adjacent].
func Free() (int, error) { return Adjacent(1) }

// Adjacent returns the first of n adjacent free ports of 127.0.0.1. They are this
// process's until it ends, also while nothing listens on them: no other process of
// this user gets them from this package, and the system gives ports of this range
// to no outgoing connection. (A port that the system chooses for a listener is of
// the other kind: on a busy machine a client may have it before a server listens.)
func Adjacent(n int) (int, error) {
	const from, to, attempts = 15_000, 32_000, 200 // Linux and macOS use ports above for clients
	given.Lock()
	defer given.Unlock()
	for range attempts {
		first := from + rand.IntN(to-from-n)
		free := true
		for port := first; free && port < first+n; port++ {
			free = !given.ports[port] && reserve(port) && Check(Loopback(port)) == nil
		}
		if free {
			for port := first; port < first+n; port++ {
				given.ports[port] = true
			}
			return first, nil
		}
	}
	return 0, fmt.Errorf("find %d free ports: none in %d attempts", n, attempts)
}

// given are the ports that this process has.
var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// reservations is a file in which each process locks the byte of each of its
// ports.
var reservations = sync.OnceValues(func() (*os.File, error) {
	return os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprint("orderhub-ports-", os.Getuid())), os.O_CREATE|os.O_RDWR, 0o600)
})

// reserve returns false where another process has the port. The reservation ends
// with this process.
func reserve(port int) bool {
	file, err := reservations()
	return err == nil && syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Start: int64(port), Len: 1}) == nil
}
