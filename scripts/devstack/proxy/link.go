package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is a client's connection with its connection to the server.
type link struct {
	proxy  *Proxy
	client net.Conn
	server net.Conn // set before the goroutines start

	silent   atomic.Bool // everything is swallowed
	answered atomic.Bool // the next answer cuts the link

	mu    sync.Mutex
	isCut bool
	ended chan struct{} // closed by cut
}

// joined gives the link its other side, or closes that where the link is cut by
// now.
func (l *link) joined(server net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.server = server
	if l.isCut {
		reset(server)
	}
	return !l.isCut
}

// cut resets both connections.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		return
	}
	l.isCut = true
	close(l.ended)
	reset(l.client)
	if l.server != nil {
		reset(l.server)
	}
}

// leave is for when one side has gone. The other hears of it, but not over a
// silenced link: that one stays open on the other side until Cut or Close.
func (l *link) leave() {
	if l.silent.Load() {
		<-l.ended
	}
	l.cut()
}

// reset closes a connection as a crash does: without a farewell, and what is
// not delivered yet is dropped.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only where it is closed
	}
	_ = c.Close()
}

// requests passes the client's requests on, one by one.
func (l *link) requests() {
	defer l.leave()
	next := l.proxy.protocol.requests()
	buffer := make([]byte, 0, 16<<10)
	for {
		for {
			n := next(buffer)
			if n == 0 || n > len(buffer) {
				break
			}
			if !l.request(buffer[:n]) {
				return
			}
			buffer = buffer[n:]
		}
		if cap(buffer)-len(buffer) < 4<<10 {
			buffer = append(make([]byte, 0, 2*len(buffer)+16<<10), buffer...)
		}
		n, err := l.client.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if err != nil {
			return
		}
	}
}

func (l *link) request(request []byte) bool {
	if !l.hold() {
		return false
	}
	if trap := l.proxy.spring(request); trap != nil {
		switch trap.Effect {
		case LoseRequest:
			return false
		case LoseAnswer:
			l.answered.Store(true)
		case FallSilent:
			l.silent.Store(true)
		}
	}
	if l.silent.Load() {
		return true
	}
	_, err := l.server.Write(request)
	return err == nil
}

// answers passes on what the server says, as it comes.
func (l *link) answers() {
	defer l.leave()
	buffer := make([]byte, 32<<10)
	for {
		n, err := l.server.Read(buffer)
		if n > 0 && (l.answered.Load() || !l.answer(buffer[:n])) {
			return
		}
		if err != nil {
			return
		}
	}
}

func (l *link) answer(part []byte) bool {
	if !l.hold() {
		return false
	}
	if l.silent.Load() {
		return true
	}
	_, err := l.client.Write(part)
	return err == nil
}

// hold waits as long as Delay says, and returns false where the link is cut.
func (l *link) hold() bool {
	delay := time.Duration(l.proxy.delay.Load())
	if delay == 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ended:
		return false
	}
}
