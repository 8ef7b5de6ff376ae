package httpserver

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// progressListener accepts connections that drop a client which reads nothing, and wait
// for one that keeps reading, however long its answer takes. http.Server's WriteTimeout
// bounds a whole answer instead: it cuts a large one to a slow client, under a 200.
// While there are as many connections as it may have it accepts no further ones.
type progressListener struct {
	net.Listener
	patience time.Duration
	places   chan struct{}
	full     func() // called when the places are taken, at most once a minute
	told     time.Time
	close    sync.Once
	closed   chan struct{}
}

func newProgressListener(l net.Listener, patience time.Duration, places int, full func()) *progressListener {
	return &progressListener{Listener: l, patience: patience, places: make(chan struct{}, places), full: full, closed: make(chan struct{})}
}

func (l *progressListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	default:
		if now := time.Now(); now.Sub(l.told) > time.Minute {
			l.told = now
			l.full()
		}
		select {
		case l.places <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &progressConn{Conn: conn, patience: l.patience, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

func (l *progressListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// progressConn is a connection of a progressListener. A deadline that a handler sets
// holds instead of the patience, until it is reset, as net/http does after each request.
type progressConn struct {
	net.Conn
	patience time.Duration
	leave    func()
	deadline atomic.Bool  // a handler has set one
	armed    atomic.Int64 // until when the connection's own deadline lasts, in Unix nanoseconds
}

func (c *progressConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// SetWriteDeadline implements net.Conn.
func (c *progressConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && !c.deadline.Load() {
		return nil // what Write has set does no harm, and may serve the next one
	}
	c.armed.Store(0)
	c.deadline.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *progressConn) SetDeadline(t time.Time) error {
	c.armed.Store(0)
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
//
// To set a deadline costs more than the rest of a small write. So one that an earlier
// write has set, and that lasts for half of the patience, remains; if it passes, the
// client gets what is left of the patience.
func (c *progressConn) Write(p []byte) (written int, err error) {
	if c.deadline.Load() {
		return c.Conn.Write(p)
	}
	now := time.Now()
	if time.Duration(c.armed.Load()-now.UnixNano()) < c.patience/2 {
		if err := c.arm(now); err != nil {
			return 0, err
		}
	}
	began := now
	waiting, known := 0, false
	for {
		n, err := c.Conn.Write(p[written:])
		written += n
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.deadline.Load() {
			return written, err
		}
		if n > 0 || c.armed.Load() >= began.Add(c.patience).UnixNano() {
			now, ok := unsent(c.Conn)
			if n == 0 && (!ok || known && now >= waiting) {
				return written, err
			}
			waiting, known, began = now, ok, time.Now()
		}
		if err := c.arm(began); err != nil {
			return written, err
		}
	}
}

// arm gives the client the patience from then on.
func (c *progressConn) arm(from time.Time) error {
	until := from.Add(c.patience)
	c.armed.Store(until.UnixNano())
	return c.Conn.SetWriteDeadline(until)
}
