// Package admin serves a process's own affairs on a port of its own: /livez,
// /readyz, /metrics and /debug/pprof.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
)

// Server is the admin port. Start and Stop are called once each, in that order.
type Server struct {
	http     *http.Server
	listener net.Listener
	log      *zap.Logger
	done     chan struct{}
}

// New prepares a server for addr (host:port, port 0 for any free one).
func New(addr string, registry *health.Registry, metrics prometheus.Gatherer, log *zap.Logger) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", registry.Livez())
	mux.Handle("GET /readyz", registry.Readyz())
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return &Server{
		http: &http.Server{
			Addr:              addr,
			Handler:           mux,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      3 * time.Minute, // a CPU profile takes as long as it is asked to
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    16 << 10,
		},
		log:  log,
		done: make(chan struct{}),
	}
}

// Start listens, so that a port that is taken is an error here, and serves in
// the background.
func (s *Server) Start(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.http.Addr)
	if err != nil {
		return fmt.Errorf("ADMIN_ADDR: cannot listen on %s: %w", s.http.Addr, err)
	}
	s.listener = listener
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("admin port stopped serving", zap.Error(err))
		}
	}()
	s.log.Info("admin port is open", zap.String("addr", s.Addr()))
	return nil
}

// Addr is where the server listens, after Start.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Stop lets requests in hand finish until ctx ends, then cuts them off.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}
