package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is a client's connection together with its connection to the server.
type link struct {
	proxy  *Proxy
	client net.Conn
	server net.Conn

	silent   atomic.Bool // nothing is passed on
	answered atomic.Bool // the next answer cuts the link

	once  sync.Once
	ended chan struct{} // closed by cut
}

// cut resets both connections.
func (l *link) cut() {
	l.once.Do(func() {
		close(l.ended)
		reset(l.client)
		reset(l.server)
	})
}

// leave is called when one side has closed. The other side is reset too, but not
// over a silent link: that stays open on the other side until Cut or Close.
func (l *link) leave() {
	if l.silent.Load() {
		<-l.ended
	}
	l.cut()
}

// reset closes a connection as a crash does: without FIN, and undelivered data is
// dropped.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0) // fails only where it is closed
	_ = c.Close()
}

// requests passes the client's requests on, one by one.
func (l *link) requests() {
	defer l.leave()
	next := l.proxy.protocol.requests(l.client)
	for {
		request, err := next()
		if err != nil || !l.hold() {
			return
		}
		if trap := l.proxy.spring(request); trap != nil {
			switch trap.Effect {
			case LoseRequest:
				return
			case LoseAnswer:
				l.answered.Store(true)
			case FallSilent:
				l.silent.Store(true)
			}
		}
		if l.silent.Load() {
			continue
		}
		if _, err := l.server.Write(request); err != nil {
			return
		}
	}
}

// answers passes on what the server sends.
func (l *link) answers() {
	defer l.leave()
	buffer := make([]byte, 32<<10)
	for {
		n, err := l.server.Read(buffer)
		if err != nil || l.answered.Load() || !l.hold() {
			return
		}
		if l.silent.Load() {
			continue
		}
		if _, err := l.client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// hold waits as long as Delay says. It returns false where the link is cut.
func (l *link) hold() bool {
	delay := time.Duration(l.proxy.delay.Load())
	if delay == 0 {
		return true
	}
	select {
	case <-time.After(delay):
		return true
	case <-l.ended:
		return false
	}
}
