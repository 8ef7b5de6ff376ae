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
	deadline atomic.Bool // a handler has set one
	armed    atomic.Bool // Write has set one, which may have passed
}

func (c *progressConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

func (c *progressConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && !c.deadline.Load() {
		return nil // what Write has set does no harm, and may serve the next one
	}
	c.armed.Store(false)
	c.deadline.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

func (c *progressConn) SetDeadline(t time.Time) error {
	c.armed.Store(false)
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
// To set a deadline, or to look at the clock, costs more than the rest of a small write.
// So a deadline that an earlier write has set remains. If it passes, or has passed, the
// client gets a new one, with the whole patience.
func (c *progressConn) Write(p []byte) (written int, err error) {
	if c.deadline.Load() {
		return c.Conn.Write(p)
	}
	fresh := false // the deadline is this write's own
	if !c.armed.Load() {
		if fresh, err = true, c.arm(); err != nil {
			return 0, err
		}
	}
	waiting, known := 0, false
	for {
		n, err := c.Conn.Write(p[written:])
		written += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.deadline.Load() {
			return written, err
		}
		now, ok := unsent(c.Conn)
		if n == 0 && fresh && (!ok || known && now >= waiting) {
			return written, err
		}
		waiting, known, fresh = now, ok, true
		if err := c.arm(); err != nil {
			return written, err
		}
	}
}

// arm gives the client the patience from now on.
func (c *progressConn) arm() error {
	c.armed.Store(true)
	return c.Conn.SetWriteDeadline(time.Now().Add(c.patience))
}
