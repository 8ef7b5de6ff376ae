// Package admin serves a process's health and metrics on a port of its own: /livez,
// /readyz and /metrics, and Go's profiles at /debug/pprof/ where they are asked for.
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

// New prepares a server for s.AdminAddr (host:port, port 0 for any free one).
func New(s *config.Service, registry *health.Registry, metrics prometheus.Gatherer, log *zap.Logger) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", registry.Livez())
	mux.Handle("GET /readyz", registry.Readyz())
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	if s.AdminPprof {
		mux.Handle("/debug/pprof/", withToken(s.AdminToken, profiles()))
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

// withToken asks for a bearer token, if there is one.
func withToken(token config.Secret, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token.Reveal()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if got := sha256.Sum256([]byte(given)); subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "profiles need ADMIN_TOKEN as the bearer token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
