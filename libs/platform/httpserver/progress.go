package httpserver

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// progressListener accepts connections that drop a client which reads nothing, and wait
// for one that keeps reading, however long its answer takes. http.Server's WriteTimeout
// bounds a whole answer instead: it cuts a large one to a slow client, under a 200.
type progressListener struct {
	net.Listener
	patience time.Duration
}

func (l progressListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &progressConn{Conn: conn, patience: l.patience}, nil
}

// progressConn is a connection of a progressListener. A deadline that a handler sets
// holds instead of the patience, until it is reset, as net/http does after each request.
type progressConn struct {
	net.Conn
	patience time.Duration
	deadline atomic.Bool // a handler has set one
}

// SetWriteDeadline implements net.Conn.
func (c *progressConn) SetWriteDeadline(t time.Time) error {
	c.deadline.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *progressConn) SetDeadline(t time.Time) error {
	c.deadline.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

// CloseWrite is what net/http looks for: after an answer to a request that it has not
// read to the end, the client gets the answer whole before the connection is closed.
func (c *progressConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Write gives up when the client has taken nothing for the patience. Between the two
// lies the kernel's buffer, which may hold megabytes and takes no more until a good part
// of them is gone: so what is left in it counts, too.
func (c *progressConn) Write(p []byte) (written int, err error) {
	if c.deadline.Load() {
		return c.Conn.Write(p)
	}
	waiting, known := 0, false
	for {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(p[written:])
		written += n
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.deadline.Load() {
			return written, err
		}
		now, ok := unsent(c.Conn)
		if n == 0 && (!ok || known && now >= waiting) {
			return written, err
		}
		waiting, known = now, ok
	}
}
