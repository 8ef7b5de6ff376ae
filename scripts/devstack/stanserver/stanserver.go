// Package stanserver runs NATS Streaming, which is at its end of life, as a child
// process, for tests.
//
// Its module needs an old nats-server, so it is no requirement of ours.
package stanserver

import (
	"context"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/gobuild"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
)

const (
	version = "v0.25.6"
	// ClusterID is the servers' cluster.
	ClusterID = "test-cluster"
)

// Server is a running server.
type Server struct {
	daemon *process.Daemon
	port   int
}

// URL is where clients connect.
func (s *Server) URL() string { return "nats://" + ports.Loopback(s.port) }

// Kill ends the server at once.
func (s *Server) Kill() { _ = s.daemon.Kill() }

// StartForTest runs a server on 127.0.0.1 that keeps its channels in dir, until the end
// of the test.
func StartForTest(tb testing.TB, port int, dir string) *Server {
	tb.Helper()
	const module = "github.com/nats-io/nats-streaming-server"
	binary, err := gobuild.Binary(context.Background(), gobuild.Program{Name: "nats-streaming-server", Module: module, Version: version, Package: module})
	require.NoError(tb, err)
	s := &Server{port: port}
	s.daemon = process.StartForTest(tb, "nats-streaming-server", func() *exec.Cmd {
		return exec.Command(binary, "--addr", "127.0.0.1", "--port", strconv.Itoa(port), "--cluster_id", ClusterID,
			"--store", "file", "--dir", dir, "--max_bytes", "0", "--max_msgs", "0")
	}, func(context.Context) error {
		conn, err := nats.Connect(s.URL())
		if err != nil {
			return err
		}
		defer conn.Close()
		// The cluster answers some time after the NATS server within it does.
		_, err = conn.Request("_STAN.discover."+ClusterID, nil, time.Second)
		return err
	})
	return s
}
