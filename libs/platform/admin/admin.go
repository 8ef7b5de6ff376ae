// Package admin serves a process's health, metrics and profiles on a port of its
// own: /livez, /readyz, /metrics and /debug/pprof.
package admin

import (
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
)

// stopTimeout is for answers in flight; a profile that takes longer is cut off.
const stopTimeout = time.Second

// Server is the admin port.
type Server struct{ *httpserver.Server }

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
	return &Server{httpserver.New(httpserver.Options{
		Name: "admin port", Setting: "ADMIN_ADDR", Addr: addr, Handler: mux, Log: log,
		StopTimeout: stopTimeout,
	})}
}
