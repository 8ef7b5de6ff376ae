package httpapi

import (
	"context"
	"net"
	"runtime/debug"
	"sync"
	"time"
	"unsafe"

	"go.uber.org/zap"
)

// front is a listener that answers the commonest request itself, the plain GET of
// an order that memory knows, and gives net/http the connections on which anything
// else comes. All that net/http does for a request, from the header's map to a
// goroutine that watches the connection, costs more than twice what such an answer
// does. Both answer the same: where the front is in any doubt, it doesn't answer.
type front struct {
	net.Listener
	answer   quickAnswer
	timeouts frontTimeouts
	log      *zap.Logger

	others  chan net.Conn // for net/http, with what was read of them
	failed  chan error    // of the listener
	closing chan struct{}
	close   sync.Once

	serving sync.WaitGroup
	mu      sync.Mutex
	conns   map[net.Conn]struct{} // that are the front's
}

// quickAnswer appends the whole answer to a request, header included, and returns
// what measures it; nil: the request is net/http's. It keeps nothing of request,
// which is valid during the call only.
type quickAnswer func(dst []byte, request string, now time.Time) ([]byte, *measure)

// frontTimeouts are net/http's of the same names.
type frontTimeouts struct{ header, idle, write time.Duration }

const (
	// maxQuickRequest is in bytes; longer ones are net/http's.
	maxQuickRequest = 2 << 10
	// deadlinesHold is for how long a connection's deadlines are good enough. To set
	// them costs more than to read the request.
	deadlinesHold = time.Second
)

func newFront(listener net.Listener, answer quickAnswer, timeouts frontTimeouts, log *zap.Logger) *front {
	f := &front{
		Listener: listener, answer: answer, timeouts: timeouts, log: log,
		others: make(chan net.Conn), failed: make(chan error), closing: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	f.serving.Go(f.acceptAll)
	return f
}

// Accept returns the next connection that is net/http's, or an error of the
// listener's: net/http knows which ones to wait out.
func (f *front) Accept() (net.Conn, error) {
	select {
	case conn := <-f.others:
		return conn, nil
	case err := <-f.failed:
		return nil, err
	case <-f.closing:
		return nil, net.ErrClosed
	}
}

// Close ends idle connections, and the others after the answer in hand.
func (f *front) Close() error {
	var err error
	f.close.Do(func() {
		close(f.closing)
		err = f.Listener.Close()
		f.each(func(conn net.Conn) { _ = conn.SetReadDeadline(time.Now()) })
	})
	return err
}

// Wait returns when, after Close, the last answer is written, or ctx ends, when
// connections are cut off.
func (f *front) Wait(ctx context.Context) error {
	cut := context.AfterFunc(ctx, func() { f.each(func(conn net.Conn) { _ = conn.Close() }) })
	f.serving.Wait()
	if !cut() {
		return ctx.Err()
	}
	return nil
}

func (f *front) each(do func(net.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		do(conn)
	}
}

func (f *front) acceptAll() {
	for {
		conn, err := f.Listener.Accept()
		if err == nil {
			f.serving.Go(func() { f.serve(conn) })
			continue
		}
		select {
		case f.failed <- err:
		case <-f.closing:
			return
		}
	}
}

// serve answers on a connection until something comes that is net/http's.
func (f *front) serve(conn net.Conn) {
	f.mu.Lock()
	f.conns[conn] = struct{}{}
	f.mu.Unlock()
	read := f.answerOn(conn)
	f.mu.Lock()
	delete(f.conns, conn)
	f.mu.Unlock()
	if read != nil {
		_ = conn.SetDeadline(time.Time{}) // net/http has its own
		select {
		case f.others <- &begunConn{refusingConn{conn}, read}:
			return
		case <-f.closing:
		}
	}
	_ = conn.Close()
}

// answers are of requests in hand; connections that wait for one have none.
var answers = sync.Pool{New: func() any { return new([]byte) }}

// answerOn returns the bytes read that it leaves to net/http; nil ends the
// connection.
func (f *front) answerOn(conn net.Conn) (left []byte) {
	defer func() {
		if cause := recover(); cause != nil {
			f.log.Error("a request's answer panicked", zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
			left = nil
		}
	}()
	request := make([]byte, maxQuickRequest)
	_ = conn.SetReadDeadline(time.Now().Add(f.timeouts.header))
	var deadlinesSet time.Time
	for !f.isClosing() {
		n, err := conn.Read(request)
		if err != nil {
			return nil // the client has gone, is silent, or the server stops
		}
		start := time.Now()
		answer := answers.Get().(*[]byte)
		var measure *measure
		*answer, measure = f.answer((*answer)[:0], unsafe.String(&request[0], n), start)
		if measure == nil {
			answers.Put(answer)
			return request[:n]
		}
		if start.Sub(deadlinesSet) > deadlinesHold {
			_ = conn.SetReadDeadline(start.Add(f.timeouts.idle))
			_ = conn.SetWriteDeadline(start.Add(f.timeouts.write + deadlinesHold))
			deadlinesSet = start
		}
		_, err = conn.Write(*answer)
		answers.Put(answer)
		measure.since(start)
		if err != nil {
			return nil
		}
	}
	return nil
}

func (f *front) isClosing() bool {
	select {
	case <-f.closing:
		return true
	default:
		return false
	}
}

// begunConn is a connection of which the front has read something.
type begunConn struct {
	refusingConn
	read []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if c.read == nil {
		return c.Conn.Read(p)
	}
	n := copy(p, c.read)
	if c.read = c.read[n:]; len(c.read) == 0 {
		c.read = nil
	}
	return n, nil
}
