package httpapi

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// maxHeaderBytes bounds a request's line and header together. net/http reads
// 4 KiB more before it refuses.
const maxHeaderBytes = 16 << 10

// Server serves an API on its port. Start and Stop are called once
// each, in that order.
type Server struct {
	http  *http.Server
	quick quickAnswer
	front *front
	log   *zap.Logger
	died  func(error)
	addr  string
	done  chan struct{}
}

// NewServer prepares a server for addr (host:port, port 0 for any free one). died
// is told when it stops serving though nobody asked it to.
func NewServer(addr string, api *API, log *zap.Logger, died func(error)) *Server {
	return &Server{
		http: &http.Server{
			Addr:              addr,
			Handler:           api,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          clientErrors(log),
			// OPTIONS * is no address of ours either.
			DisableGeneralOptionsHandler: true,
		},
		quick: api.quick,
		log:   log,
		died:  died,
		done:  make(chan struct{}),
	}
}

// clientErrors takes what net/http says of broken connections, which is of
// interest only while looking for something.
func clientErrors(log *zap.Logger) *stdlog.Logger {
	std, err := zap.NewStdLogAt(log, zap.DebugLevel)
	if err != nil {
		panic(err) // the level is one of zap's
	}
	return std
}

// OnStop has do called when Stop begins, so that it can end requests which
// would not end by themselves. It is called before Start.
func (s *Server) OnStop(do func()) { s.http.RegisterOnShutdown(do) }

// Start listens, so that a port that is taken is an error here, and serves in
// the background.
func (s *Server) Start(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.http.Addr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: cannot listen on %s: %w", s.http.Addr, err)
	}
	s.serve(listener)
	s.log.Info("API is open", zap.String("addr", s.addr))
	return nil
}

func (s *Server) serve(listener net.Listener) {
	s.addr = listener.Addr().String()
	s.front = newFront(listener, s.quick, frontTimeouts{s.http.ReadHeaderTimeout, s.http.IdleTimeout, s.http.WriteTimeout}, s.log)
	go func() {
		defer close(s.done)
		if err := s.http.Serve(s.front); !errors.Is(err, http.ErrServerClosed) {
			s.died(fmt.Errorf("the API stopped serving: %w", err))
		}
	}()
}

// Addr is where the server listens, after Start.
func (s *Server) Addr() string { return s.addr }

// Stop lets requests in hand finish until ctx ends, then cuts them off.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return errors.Join(err, s.front.Wait(ctx))
}
