package httpapi

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/httpserver"
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

// serve runs the API's server on pipes until the test's end. It drops clients that read
// nothing for so long.
func serve(tb testing.TB, handler *gin.Engine, silence time.Duration) *pipes {
	tb.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := httpserver.New(httpserver.Options{
		Name: "API", Listener: p, Handler: handler, StopTimeout: patience, Patience: silence,
		ConnContext: ConnContext,
		Died:        func(err error) { tb.Error(err) },
	})
	require.NoError(tb, server.Start(tb.Context()))
	tb.Cleanup(server.Stop)
	return p
}

// patience bounds waits that only what fails waits out.
const patience = 60 * time.Second
