// Package admin serves a process's health and metrics on a port of its own: /livez,
// /readyz and /metrics, the log's level at /loglevel, and Go's profiles at /debug/pprof/
// where they are asked for.
package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
)

const (
	// stopTimeout is for answers in flight; a profile that takes longer is cut off.
	stopTimeout = time.Second
	// What probes, Prometheus and one who profiles need is far below these.
	maxConnections = 200
	maxHeaderBytes = 16 << 10
	maxBody        = 64 << 10
)

// Server is the admin port.
type Server struct{ *httpserver.Server }

// New prepares a server for s.AdminAddr (host:port, port 0 for any free one). level is
// that of log; with PUT /loglevel people change it.
func New(s *config.Service, registry *health.Registry, metrics prometheus.Gatherer, log *zap.Logger, level zap.AtomicLevel) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", registry.Livez())
	mux.Handle("GET /readyz", registry.Readyz())
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.Handle("GET /loglevel", level)
	mux.Handle("PUT /loglevel", withToken(s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := level.Level()
		if level.ServeHTTP(w, r); level.Level() != before {
			log.Warn("log level changed", zap.Stringer("previous_level", before), zap.Stringer("new_level", level.Level()))
		}
	})))
	if s.AdminPprof {
		mux.Handle("/debug/pprof/", withToken(s, profiles()))
	}
	return &Server{httpserver.New(httpserver.Options{
		Name: "admin port", Setting: "ADMIN_ADDR", Addr: s.AdminAddr, Handler: mux, Log: log,
		Settings:       httpserver.Settings{MaxConnections: maxConnections},
		MaxHeaderBytes: maxHeaderBytes, MaxBody: maxBody, StopTimeout: stopTimeout,
	})}
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// withToken asks for ADMIN_TOKEN, if there is one. Without it only this machine is served.
func withToken(s *config.Service, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.AdminToken.Reveal()))
	switch {
	case s.AdminToken == "" && config.IsLoopback(s.AdminAddr):
		return next
	case s.AdminToken == "":
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "other machines can reach this port: set ADMIN_TOKEN, which this then needs", http.StatusForbidden)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if got := sha256.Sum256([]byte(given)); subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "this needs ADMIN_TOKEN as the bearer token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
