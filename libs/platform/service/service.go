// Package service holds what all services have in common: the main function, and
// the parts that every service needs.
package service

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/logging"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// Settings is a pointer to a struct that embeds config.Service.
type Settings interface{ Common() *config.Service }

// Program describes a service.
type Program struct {
	Name     string
	About    string // for --help
	Settings Settings
	New      func() (App, error) // called once the settings are loaded
}

// App is a service put together.
type App struct {
	Start func(context.Context) error
	Stop  func(context.Context) error
	Wait  func() (exitCode int) // until the service ends by itself
}

// startTimeout bounds Start. Parts open ports in it and wait for nothing else.
const startTimeout = 15 * time.Second

// Main runs the program and returns its exit code: 0 after a stop by SIGINT or
// SIGTERM, 1 after a failure, 2 for settings or arguments that cannot be used. A
// second signal ends the process at once.
func Main(p Program, args []string, stdout, stderr io.Writer) int {
	say := func(format string, values ...any) { _, _ = fmt.Fprintf(stderr, p.Name+": "+format+"\n", values...) }
	if len(args) > 1 {
		say("one argument at most; see %s --help", p.Name)
		return 2
	}
	argument := ""
	if len(args) == 1 {
		argument = args[0]
	}
	switch argument {
	case "", "--healthcheck":
	case "-h", "--help", "help":
		if err := config.WriteHelp(stdout, p.Name, p.About, p.Settings); err != nil {
			return 1
		}
		return 0
	case "--version", "version":
		_, _ = fmt.Fprintln(stdout, p.Name, buildinfo.Read())
		return 0
	default:
		say("unknown argument %q; settings are environment variables, see %s --help", argument, p.Name)
		return 2
	}
	if err := config.Load(p.Settings); err != nil {
		say("invalid settings:\n%v", err)
		return 2
	}
	if argument == "--healthcheck" {
		if err := admin.Probe(context.Background(), p.Settings.Common().AdminAddr); err != nil {
			say("%v", err)
			return 1
		}
		return 0
	}
	stopRequested, forget := signals()
	defer forget()
	flush, err := trace(p)
	if err != nil {
		say("%v", err)
		return 2
	}
	defer flush()
	app, err := p.New()
	if err != nil {
		say("%v", err)
		return 1
	}
	exitCode, err := run(app, p.Settings.Common().StopTimeout, stopRequested)
	if err != nil {
		say("%v", err)
		return 1
	}
	return exitCode
}

// trace has the program's spans recorded, if its settings ask for it.
func trace(p Program) (flush func(), err error) {
	common := p.Settings.Common()
	log, _, err := logging.New(common.Log, p.Name)
	if err != nil {
		return nil, err
	}
	return tracing.Start(&common.Traces, tracing.Options{Service: p.Name, Log: log})
}

// signals begins to catch signals before the start, so that one during the start
// stops the service like any other. The first closes stopRequested; the second ends
// the process.
func signals() (stopRequested <-chan struct{}, forget func()) {
	first, all := make(chan struct{}), make(chan os.Signal, 2)
	signal.Notify(all, os.Interrupt, syscall.SIGTERM)
	go func() {
		if _, ok := <-all; !ok {
			return
		}
		close(first)
		if _, ok := <-all; ok {
			os.Exit(1)
		}
	}()
	return first, func() {
		signal.Stop(all)
		close(all)
	}
}

func run(app App, stopTimeout time.Duration, stopRequested <-chan struct{}) (exitCode int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := app.Start(ctx); err != nil {
		return 1, err
	}
	ended := make(chan int, 1)
	go func() { ended <- app.Wait() }()
	select {
	case exitCode = <-ended:
	case <-stopRequested:
	}

	ctx, cancel = context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := app.Stop(ctx); err != nil {
		return 1, fmt.Errorf("stop incomplete after %s: %w", stopTimeout, err)
	}
	return exitCode, nil
}

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
