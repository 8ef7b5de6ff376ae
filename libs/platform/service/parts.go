package service

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/logging"
)

// Parts returns the constructors of what every service has: *zap.Logger and
// its zap.AtomicLevel, *health.Registry, *prometheus.Registry and *admin.Server. They read the settings
// when they are called.
func Parts(program string, settings Settings) []any {
	common := settings.Common()
	return []any{
		func() (*zap.Logger, zap.AtomicLevel, error) { return logging.New(common.Log, program) },
		health.NewRegistry,
		func() *prometheus.Registry { return NewMetrics(program) },
		func(checks *health.Registry, metrics *prometheus.Registry, log *zap.Logger, level zap.AtomicLevel) *admin.Server {
			return admin.New(common, checks, metrics, log, level)
		},
	}
}

// NewMetrics returns a registry with the figures of the process, of Go's runtime and
// of the program's build.
func NewMetrics(program string) *prometheus.Registry {
	build := buildinfo.Read()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "orderhub_build_info", Help: "1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"service": program, "version": build.Version, "revision": build.Revision, "go": build.Go},
	})
	info.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}
