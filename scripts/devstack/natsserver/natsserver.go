// Package natsserver runs a NATS server with JetStream inside this process, on
// loopback, for `make run` and for tests.
package natsserver

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

const (
	startTimeout = 20 * time.Second
	// maxPayload is the most that nats-server advises. By default it takes 1 MiB, less
	// than an order that is to be refused for its size.
	maxPayload = 8 << 20
)

// Options say how a server runs. The zero value is a server on a free port that
// keeps its streams in a temporary folder of the system's.
type Options struct {
	// DataDir is the folder where streams are kept.
	DataDir string
	// Port on 127.0.0.1; 0 means a free one.
	Port int
	// Set changes further options of the server's.
	Set func(*server.Options)
}

// Server is a running server.
type Server struct{ server *server.Server }

// Start brings up a server with what its data folder holds. A Port that is taken
// is a [*ports.TakenError].
func Start(options Options) (*Server, error) {
	o := &server.Options{
		Host: "127.0.0.1", Port: options.Port, JetStream: true, StoreDir: options.DataDir,
		MaxPayload: maxPayload, NoSigs: true, NoLog: true,
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	} else if err := ports.Check(ports.Loopback(o.Port)); err != nil {
		return nil, err
	}
	if options.Set != nil {
		options.Set(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("start the NATS server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		return nil, errors.New("the NATS server does not answer")
	}
	return &Server{s}, nil
}

// URL is where clients connect.
func (s *Server) URL() string { return s.server.ClientURL() }

// Stop ends the server and waits for that. It is safe to call twice.
func (s *Server) Stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// StartForTest runs a server until the end of the test.
func StartForTest(tb testing.TB, options Options) *Server {
	tb.Helper()
	if options.DataDir == "" {
		options.DataDir = tb.TempDir()
	}
	s, err := Start(options)
	require.NoError(tb, err)
	tb.Cleanup(s.Stop)
	return s
}
