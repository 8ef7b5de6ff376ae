// Package stanserver runs NATS Streaming, which is at its end of life, as a child
// process, for tests.
//
// Its module needs an old nats-server, so it is no requirement of ours: it is built
// in a module of its own, once, into the user's cache.
package stanserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

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

// Start runs a server on 127.0.0.1 that keeps its channels in dir.
func Start(ctx context.Context, port int, dir string) (*Server, error) {
	binary, err := build(ctx)
	if err != nil {
		return nil, fmt.Errorf("build nats-streaming-server: %w", err)
	}
	s := &Server{port: port, daemon: process.NewDaemon("nats-streaming-server", dir+".log", func() *exec.Cmd {
		return exec.Command(binary, "--addr", "127.0.0.1", "--port", strconv.Itoa(port), "--cluster_id", ClusterID,
			"--store", "file", "--dir", dir, "--max_bytes", "0", "--max_msgs", "0")
	})}
	if err := s.daemon.Start(); err != nil {
		return nil, err
	}
	return s, s.daemon.WaitReady(ctx, func(context.Context) error {
		conn, err := nats.Connect(s.URL())
		if err != nil {
			return err
		}
		defer conn.Close()
		// The cluster answers some time after the NATS server within it does.
		_, err = conn.Request("_STAN.discover."+ClusterID, nil, time.Second)
		return err
	})
}

// URL is where clients connect.
func (s *Server) URL() string { return "nats://" + ports.Loopback(s.port) }

// Kill ends the server at once.
func (s *Server) Kill() { _ = s.daemon.Kill() }

// StartForTest runs a server until the end of the test.
func StartForTest(tb testing.TB, port int, dir string) *Server {
	tb.Helper()
	s, err := Start(context.Background(), port, dir)
	if err != nil {
		tb.Fatalf("NATS Streaming for the test: %v", err)
	}
	tb.Cleanup(s.Kill)
	return s
}

func build(ctx context.Context) (binary string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "orderhub")
	binary = filepath.Join(folder, "nats-streaming-server-"+version)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	module, err := os.MkdirTemp(folder, "build-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(module) }()
	for _, args := range [][]string{
		{"mod", "init", "build"},
		{"get", "github.com/nats-io/nats-streaming-server@" + version},
		{"build", "-o", "server", "github.com/nats-io/nats-streaming-server"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		if output, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %v: %w\n%s", args, err, output)
		}
	}
	return binary, os.Rename(filepath.Join(module, "server"), binary) // at once, for others that build it too
}
