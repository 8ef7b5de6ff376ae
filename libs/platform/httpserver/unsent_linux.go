package httpserver

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsent is the number of bytes that the kernel has taken and the client has not.
func unsent(conn net.Conn) (bytes int, ok bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, false
	}
	var failed error
	err = raw.Control(func(fd uintptr) { bytes, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return bytes, err == nil && failed == nil
}
