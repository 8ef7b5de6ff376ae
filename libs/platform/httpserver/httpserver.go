// Package httpserver runs an http.Server as a part with a lifecycle, with all
// time-outs set.
package httpserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/lifecycle"
)

// Options of a Server. Zero values have the defaults that are named.
type Options struct {
	// Name is what log lines and errors call the server, such as "API".
	Name string
	// Addr is host:port; port 0 takes any free one. Setting is the variable that it
	// comes from, for errors.
	Addr, Setting string
	// Listener is used instead of Addr where it is set, and closed by Stop.
	Listener net.Listener
	Handler  http.Handler
	// ConnContext is as in http.Server.
	ConnContext func(context.Context, net.Conn) context.Context
	// Settings are the operator's; without a certificate the server speaks HTTP.
	Settings Settings
	// Metrics gets the figures of the certificate; nil: none.
	Metrics prometheus.Registerer

	// MaxHeaderBytes is as in http.Server.
	MaxHeaderBytes int
	// MaxBody is how many bytes of a request's body a handler can read; 8 MiB.
	MaxBody     int64
	ReadTimeout time.Duration // of a whole request; 10 s
	// Patience is how long a client may take nothing of an answer; 15 s. One that has
	// stopped reading may be noticed only after twice that time.
	Patience    time.Duration
	StopTimeout time.Duration // for which Stop waits for requests in flight; 10 s

	Log *zap.Logger
	// Died is called when the server stops serving before Stop. Default: it is logged.
	Died func(error)
	// OnStop is called when Stop begins, to end requests that would not end by
	// themselves.
	OnStop func()
}

const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Server is a listening port. Methods are safe for concurrent use.
type Server struct {
	opts Options
	http *http.Server
	done chan struct{} // closed when serving has ended
	cert *certificate  // nil without TLS
	look time.Duration // between two looks at the certificate's files
	loop lifecycle.Runner

	mu       sync.Mutex
	listener net.Listener // nil before Start
}

// ErrState is returned by a second Start, and by a Start after Stop.
var ErrState = errors.New("the server has been started or stopped before")

// New prepares a server.
func New(o Options) *Server {
	o.ReadTimeout = cmp.Or(o.ReadTimeout, 10*time.Second)
	o.Patience = cmp.Or(o.Patience, 15*time.Second)
	o.StopTimeout = cmp.Or(o.StopTimeout, 10*time.Second)
	o.MaxBody = cmp.Or(o.MaxBody, 8<<20)
	o.Settings.MaxConnections = cmp.Or(o.Settings.MaxConnections, 20_000)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Died == nil {
		o.Died = func(err error) { o.Log.Error("server died", zap.Error(err)) }
	}
	// What net/http logs about broken connections is of interest only while looking
	// for something.
	errorLog, err := zap.NewStdLogAt(o.Log, zap.DebugLevel)
	if err != nil {
		panic(err) // debug is one of zap's levels
	}
	s := &Server{opts: o, done: make(chan struct{}), look: certificateCheck, http: &http.Server{
		Handler:           limited{o.Handler, o.MaxBody, o.Patience},
		ConnContext:       o.ConnContext,
		ReadHeaderTimeout: min(readHeaderTimeout, o.ReadTimeout),
		ReadTimeout:       o.ReadTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    o.MaxHeaderBytes,
		ErrorLog:          errorLog,
		// "OPTIONS *" goes to the handler like every other request.
		DisableGeneralOptionsHandler: true,
	}}
	if files := o.Settings; files.CertFile != "" {
		s.cert = &certificate{certFile: files.CertFile, keyFile: files.KeyFile}
		s.http.TLSConfig = s.cert.config()
	}
	if o.OnStop != nil {
		s.http.RegisterOnShutdown(sync.OnceFunc(o.OnStop))
	}
	return s
}

// Start reads the certificate and listens, so that a file that cannot be used or a taken
// port is an error here, and serves in the background until Stop.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil || s.loop.Context().Err() != nil {
		return fmt.Errorf("%s: %w", s.opts.Name, ErrState)
	}
	if s.cert != nil {
		if _, err := s.cert.load(); err != nil {
			return fmt.Errorf("%s: %w", s.opts.Name, err)
		}
	}
	listener := s.opts.Listener
	if listener == nil {
		var err error
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", s.opts.Addr); err != nil {
			return fmt.Errorf("%s: cannot listen on %s: %w", cmp.Or(s.opts.Setting, s.opts.Name), s.opts.Addr, err)
		}
	}
	s.listener = listener
	if s.cert != nil {
		s.loop.Go(func(ctx context.Context) { s.cert.watch(ctx, s.look, s.opts.Log) })
		if s.opts.Metrics != nil {
			s.opts.Metrics.MustRegister(s.cert.metric())
		}
	}
	go s.serve(newProgressListener(listener, s.opts.Patience, s.opts.Settings.MaxConnections, s.full))
	s.opts.Log.Info("server ready", zap.String("server", s.opts.Name), zap.String("addr", listener.Addr().String()))
	return nil
}

func (s *Server) serve(listener net.Listener) {
	defer close(s.done)
	serve := s.http.Serve
	if s.http.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
		s.opts.Died(fmt.Errorf("%s stopped serving: %w", s.opts.Name, err))
	}
}

// full is called when all connections are taken, at most once a minute.
func (s *Server) full() {
	s.opts.Log.Warn("as many connections as the server may have; others wait", zap.String("server", s.opts.Name), zap.Int("limit", s.opts.Settings.MaxConnections))
}

// Addr is where the server listens; "" before Start.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Stop lets requests in flight finish for StopTimeout, then closes their
// connections. It may be called more than once, and before Start.
func (s *Server) Stop() {
	s.loop.Stop() // after which nothing is started
	if s.Addr() == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.StopTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.opts.Log.Warn("connections in use closed", zap.String("server", s.opts.Name), zap.Error(err))
		_ = s.http.Close() // its errors are of connections that are given up
	}
	<-s.done
}
