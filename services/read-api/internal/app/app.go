// Package app puts the reader together. Its file app.go is the only one that
// knows fx.
package app

import (
	"context"
	"io"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/uptrace/bun"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/libs/platform/logging"
	"github.com/orderhub/orderhub/libs/platform/service"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/gcpacer"
	"github.com/orderhub/orderhub/services/read-api/internal/httpapi"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
)

const (
	program = "read-api"
	about   = "read-api serves the orders in PostgreSQL over HTTP. It holds all of them in memory\n" +
		"and keeps them equal to the tables."
)

// Main runs the reader until SIGINT or SIGTERM and returns its exit code; see
// service.Main.
func Main(args []string, stdout, stderr io.Writer) int {
	settings := &Settings{}
	return service.Main(service.Program{
		Name: program, About: about, Settings: settings,
		AdminAddr:   func() string { return settings.AdminAddr },
		StopTimeout: func() time.Duration { return settings.StopTimeout },
		New: func() (service.App, error) {
			app := fx.New(Options(settings), fx.StopTimeout(settings.StopTimeout))
			wait := func() int { return (<-app.Wait()).ExitCode }
			return service.App{Start: app.Start, Stop: app.Stop, Wait: wait}, app.Err()
		},
	}, args, stdout, stderr)
}

// Options are the reader's parts and how they hang together.
func Options(settings *Settings) fx.Option {
	return fx.Options(
		fx.Supply(settings),
		fx.Provide(
			func(s *Settings) (*zap.Logger, error) { return logging.New(s.Log, program) },
			health.NewRegistry, newMetricsRegistry, newAdmin, newFatal,
			newDatabase, newCache, gcpacer.New, newSource, newReflector, newDoorbell,
			newReadThrough, orders.NewLists, orders.New, newHub, newCatchUp, newHandler, newServer,
		),
		fx.WithLogger(func(log *zap.Logger) fxevent.Logger {
			l := &fxevent.ZapLogger{Logger: log}
			l.UseLogLevel(zap.DebugLevel)
			return l
		}),
		// In this order they start, and in the reverse they stop: the cache is
		// kept up to date until the last request is answered.
		fx.Invoke(limitMemory, startAdmin, startCache, startServer),
	)
}

func newMetricsRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

func newAdmin(s *Settings, checks *health.Registry, metrics *prometheus.Registry, log *zap.Logger) *admin.Server {
	return admin.New(s.AdminAddr, checks, metrics, log)
}

// fatal ends the process when a part of it has died.
type fatal func(error)

func newFatal(shutdown fx.Shutdowner, log *zap.Logger) fatal {
	return func(err error) {
		log.Error("the reader stops", zap.Error(err))
		_ = shutdown.Shutdown(fx.ExitCode(1)) // fails only where a shutdown is under way
	}
}

func newDatabase(s *Settings, lc fx.Lifecycle) (*bun.DB, error) {
	const (
		schemaConns = 1
		// maxIdle is shorter than the tail waits for an answer. When the network has
		// swallowed its connection, it asks for the schema over one of these, and is
		// not to wait once more, for one that lay idle and was swallowed too.
		maxIdle = 10 * time.Second
	)
	db, err := bundb.Open(s.Database, bundb.Options{
		MaxConns: orders.ReadThroughConns + orders.ListConns + schemaConns, ApplicationName: program,
	})
	if err == nil {
		db.SetConnMaxIdleTime(maxIdle)
		lc.Append(fx.StopHook(db.Close))
	}
	return db, err
}

func newCache(s *Settings) *cache.Cache { return cache.New(s.CacheMaxStaleness) }

func newSource(s *Settings, db *bun.DB) (*changes.Source, error) {
	conn, err := bundb.Config(s.Database, program+" tail")
	if err != nil {
		return nil, err
	}
	return changes.NewSource(conn, changes.Options{
		Bytes:          s.CacheBytes,
		MinRecordBytes: cache.MinRecordBytes(s.store()),
		CheckSchema:    func(ctx context.Context) error { return migrations.Check(ctx, db.DB) },
		AnswerTimeout:  s.AnswerTimeout,
	}), nil
}

func newReflector(s *Settings, source *changes.Source, c *cache.Cache, checks *health.Registry,
	hub *stream.Hub, pacer *gcpacer.Pacer, stop fatal, metrics *prometheus.Registry, log *zap.Logger,
) *cache.Reflector {
	reflector := cache.NewReflector(source, c, cache.ReflectorOptions{
		Store: s.store(), Poll: s.poll(), Health: checks.Component("cache"), Log: log, Memory: pacer, Fatal: stop,
	})
	metrics.MustRegister(cache.Collector(c, reflector), stream.Collector(hub))
	return reflector
}

func newHub(s *Settings, c *cache.Cache) *stream.Hub { return stream.NewHub(c, s.StreamClients) }

func newCatchUp(s *Settings, db *bun.DB) (*stream.CatchUp, error) {
	conn, err := bundb.Config(s.Database, program+" stream")
	if err != nil {
		return nil, err
	}
	options := changes.Options{CheckSchema: func(ctx context.Context) error { return migrations.Check(ctx, db.DB) }}
	return stream.NewCatchUp(func() stream.Source { return changes.NewSource(conn, options) }), nil
}

// newDoorbell listens where notifications are: a standby has none.
func newDoorbell(s *Settings, source *changes.Source, c *cache.Cache, stop fatal, log *zap.Logger) (*changes.Doorbell, error) {
	where, options := s.Database, changes.DoorbellOptions{Ping: s.PingInterval, Fatal: stop}
	if s.ListenURL != "" {
		where.URL, options.Seen = s.ListenURL, source.Seen
	}
	conn, err := bundb.Config(where, program+" doorbell")
	if err != nil {
		return nil, err
	}
	return changes.NewDoorbell(conn, options, c.Refresh, log), nil
}

func newReadThrough(db *bun.DB, lc fx.Lifecycle) *orders.ReadThrough {
	through := orders.NewReadThrough(db)
	lc.Append(fx.StopHook(through.Stop))
	return through
}

func newHandler(s *Settings, o *orders.Orders, c *cache.Cache, reflector *cache.Reflector, through *orders.ReadThrough,
	hub *stream.Hub, catchUp *stream.CatchUp, metrics *prometheus.Registry, log *zap.Logger,
) *gin.Engine {
	site := page.New(page.Options{Orders: httpapi.NewPageOrders(o), ConsoleURL: s.ConsoleURL, Log: log})
	return httpapi.New(httpapi.Options{
		Orders:  o,
		Stats:   func() httpapi.Stats { return stats(s, c, reflector, through) },
		Metrics: metrics,
		Log:     log,
		Streams: httpapi.Streams{Hub: hub, CatchUp: catchUp},
		Origins: s.CORSOrigins,
		Page:    site.Register,
		Docs:    site.Docs(httpapi.OpenAPI),
	})
}

// newServer ends the streams when it is stopped: a stop waits for requests to
// end, and streams don't by themselves.
func newServer(s *Settings, api *gin.Engine, hub *stream.Hub, stop fatal, log *zap.Logger) *httpserver.Server {
	return httpserver.New(httpserver.Options{
		Name: "API", Setting: "HTTP_ADDR", Addr: s.HTTPAddr, Handler: api, ConnContext: httpapi.ConnContext,
		StopTimeout: s.StopTimeout, Died: stop, OnStop: hub.Close, Log: log,
	})
}

// limitMemory has the runtime keep below the container's limit, or a container
// would be killed for garbage, and near what the orders take.
func limitMemory(lc fx.Lifecycle, s *Settings, pacer *gcpacer.Pacer, log *zap.Logger) {
	limit, err := gcpacer.SetLimit()
	switch {
	case err != nil:
		log.Warn("the container's memory limit is not known; set GOMEMLIMIT", zap.Error(err))
	case limit > 0 && s.CacheBytes > limit:
		log.Warn("CACHE_BYTES is more than the memory that there is", zap.Int64("cache_bytes", s.CacheBytes), zap.Int64("memory_limit", limit))
	case limit > 0:
		log.Info("memory is limited", zap.Int64("memory_limit", limit))
	}
	lc.Append(fx.StartStopHook(pacer.Start, pacer.Stop))
}

func startAdmin(lc fx.Lifecycle, a *admin.Server)       { lc.Append(fx.StartStopHook(a.Start, a.Stop)) }
func startServer(lc fx.Lifecycle, s *httpserver.Server) { lc.Append(fx.StartStopHook(s.Start, s.Stop)) }

// startCache fills the cache in the background: the API is open meanwhile, and /readyz
// says how far it is.
func startCache(lc fx.Lifecycle, reflector *cache.Reflector, doorbell *changes.Doorbell) {
	lc.Append(fx.StartStopHook(doorbell.Start, doorbell.Stop))
	lc.Append(fx.StartStopHook(reflector.Start, reflector.Stop))
}
