// Package proxy is a TCP proxy for tests that makes connections fail: they are
// reset, refused or delayed, fall silent (half-open), or lose one chosen request
// or its answer.
//
// The proxy knows where the requests of PostgreSQL and Kafka begin and end, so a
// test can cut a connection between a COMMIT that was done and its answer.
// Shopify/toxiproxy cannot express this: its toxics see chunks of bytes, each
// direction by itself, and apply to later connections as well.
package proxy

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy connects clients to one server. Its methods may be called
// concurrently.
type Proxy struct {
	upstream string
	protocol Protocol
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]bool
	refuse bool
	closed bool
	traps  []*Trap

	delay  atomic.Int64 // nanoseconds
	sprung atomic.Int64
}

// Start listens on a free port of loopback for clients of the server at
// upstream (host:port), which speaks the protocol.
func Start(upstream string, protocol Protocol) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy for %s: %w", upstream, err)
	}
	p := &Proxy{upstream: upstream, protocol: protocol, listener: listener, links: map[*link]bool{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where clients connect to, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends the listener and all connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close() // fails only where it is closed
	p.Cut()
	p.running.Wait()
}

// Cut resets all present connections. New ones work.
func (p *Proxy) Cut() {
	for _, l := range p.all() {
		l.cut()
	}
}

// Silence makes the present connections half-open: nothing arrives any more, and
// neither side notices that the other one closes, until Cut or Close. New
// connections work.
func (p *Proxy) Silence() {
	for _, l := range p.all() {
		l.silent.Store(true)
	}
}

// Refuse sets whether new connections are closed at once.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Delay delays everything by d, in both directions.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Trap is a fault that one request triggers.
type Trap struct {
	// Match chooses the request. It gets the whole request.
	Match  func(request []byte) bool
	Effect Effect
}

// Effect is what a trap does to the connection of the request.
type Effect int

// The effects.
const (
	LoseRequest Effect = iota // it is reset before the request is sent on
	LoseAnswer                // it is reset once the server answers, instead of passing the answer on
	FallSilent                // it falls silent, as with Silence, before the request is sent on
)

// Set arms a trap for one request.
func (p *Proxy) Set(t Trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, &t)
}

// Sprung is how many traps were triggered.
func (p *Proxy) Sprung() int { return int(p.sprung.Load()) }

// spring takes the first trap that the request triggers; nil for none.
func (p *Proxy) spring(request []byte) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.traps, func(t *Trap) bool { return t.Match(request) })
	if i < 0 {
		return nil
	}
	p.sprung.Add(1)
	trap := p.traps[i]
	p.traps = slices.Delete(p.traps, i, i+1)
	return trap
}

func (p *Proxy) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.links))
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the client has gone already
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve passes on what one client and the server say to each other.
func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.upstream)
	if err != nil {
		reset(client)
		return
	}
	l := &link{proxy: p, client: client, server: server, ended: make(chan struct{})}
	if !p.add(l) {
		l.cut()
		return
	}
	var both sync.WaitGroup
	both.Go(l.requests)
	both.Go(l.answers)
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse || p.closed {
		return false
	}
	p.links[l] = true
	return true
}

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
