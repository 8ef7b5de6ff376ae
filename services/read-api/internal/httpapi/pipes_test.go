package httpapi

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// pipes is a listener within the process: its connections hold nothing back, so
// that what a client doesn't read, the server can't write.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(tb testing.TB) net.Conn {
	tb.Helper()
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client
	case <-p.closed:
		tb.Fatal("the server is closed")
		return nil
	}
}

// serve runs the API's server on pipes until the test's end.
func serve(tb testing.TB, handler *API) *pipes {
	tb.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := NewServer("", handler, zap.NewNop(), func(err error) { tb.Error(err) })
	server.http.WriteTimeout = time.Hour // streams have their own
	server.serve(p)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(tb, server.Stop(ctx))
	})
	return p
}

// patience bounds waits that only what fails waits out.
const patience = 60 * time.Second
