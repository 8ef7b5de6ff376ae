// Package app assembles the reader. Only its file app.go imports fx.
package app

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/audit/kafkasink"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/service"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/gcpacer"
	"github.com/orderhub/orderhub/services/read-api/internal/httpapi"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/page"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
	"github.com/orderhub/orderhub/services/read-api/internal/traces"
)

const (
	program = "read-api"
	about   = "read-api serves the orders in PostgreSQL over HTTP. It holds all of them in memory\n" +
		"and keeps them equal to the tables."
)

// Main runs the reader until SIGINT or SIGTERM and returns its exit code. See
// service.Main for the arguments.
func Main(args []string, stdout, stderr io.Writer) int {
	settings := &Settings{}
	return service.Main(service.Program{
		Name: program, About: about, Settings: settings,
		New: func() (service.App, error) {
			app := fx.New(Options(settings), fx.StopTimeout(settings.StopTimeout))
			wait := func() int { return (<-app.Wait()).ExitCode }
			return service.App{Start: app.Start, Stop: app.Stop, Wait: wait}, app.Err()
		},
	}, args, stdout, stderr)
}

// Options lists the reader's parts: how each is made, and which are started.
func Options(settings *Settings) fx.Option {
	return fx.Options(
		fx.Supply(settings),
		fx.Provide(service.Parts(program, settings)...),
		fx.Provide(
			newFatal,
			newDatabase, newSource, newReflector, newDoorbell, newCache, gcpacer.New,
			newReadThrough, newLists, orders.New,
			newTraces, newHub, newCatchUp, newGuard, newHandler, newServer,
		),
		fx.WithLogger(func(log *zap.Logger) fxevent.Logger {
			l := &fxevent.ZapLogger{Logger: log}
			l.UseLogLevel(zap.DebugLevel)
			return l
		}),
		fx.Invoke(limitMemory),
		// They start in this order and stop in reverse: the cache is kept up to
		// date until the last request is answered. The API answers while the cache
		// fills, and /readyz reports the progress.
		fx.Invoke(
			start[*gcpacer.Pacer], start[*admin.Server],
			start[*changes.Doorbell], start[*cache.Reflector], start[*auth.Guard], start[*httpserver.Server],
		),
	)
}

// fatal ends the process after one of its parts has died.
type fatal func(error)

func newFatal(shutdown fx.Shutdowner, log *zap.Logger) fatal {
	return func(err error) {
		log.Error("unrecoverable error, stopping", zap.Error(err))
		_ = shutdown.Shutdown(fx.ExitCode(1)) // fails only during a shutdown
	}
}

// poolConns is one for checks of the schema besides those of look-ups and lists.
const poolConns = orders.ReadThroughConns + orders.ListConns + 1

func newDatabase(s *Settings, metrics *prometheus.Registry, lc fx.Lifecycle) (*bun.DB, error) {
	const (
		// maxIdle is shorter than the time that the tail waits for an answer. After
		// the network has dropped its connection silently, the tail checks the schema
		// over one of these, and must not wait again for one that was dropped too.
		maxIdle = 10 * time.Second
	)
	db, err := bundb.Open(s.Database, bundb.Options{
		MaxConns: poolConns, ApplicationName: program, Metrics: metrics,
	})
	if err == nil {
		db.SetConnMaxIdleTime(maxIdle)
		lc.Append(fx.StopHook(db.Close))
	}
	return db, err
}

func newCache(s *Settings) *cache.Cache { return cache.New(s.CacheMaxStaleness) }

// connector returns the settings of one connection after another: a password may be
// rotated.
func connector(where config.Database, purpose string) changes.Connector {
	return func() (*pgx.ConnConfig, error) { return bundb.Config(where, program+" "+purpose) }
}

// checkSchema says once that the schema is older than this program needs, but usable.
func checkSchema(db *bun.DB, log *zap.Logger) func(context.Context) error {
	var once sync.Once
	return func(ctx context.Context) error {
		older, err := migrations.CheckUsable(ctx, db.DB, migrations.Reader)
		if older != nil {
			once.Do(func() { log.Warn("the schema is older than this program", zap.Error(older)) })
		}
		return err
	}
}

func newSource(s *Settings, db *bun.DB, log *zap.Logger) *changes.Source {
	return changes.NewSource(connector(s.Database, "tail"), changes.Options{
		Bytes:          s.CacheBytes,
		MinRecordBytes: cache.MinRecordBytes(s.store()),
		CheckSchema:    checkSchema(db, log),
		AnswerTimeout:  s.AnswerTimeout,
		Ages:           true,
	})
}

func newReflector(s *Settings, source *changes.Source, c *cache.Cache, checks *health.Registry,
	hub *stream.Hub, pacer *gcpacer.Pacer, stop fatal, metrics *prometheus.Registry, log *zap.Logger,
) *cache.Reflector {
	stream.Register(metrics, hub)
	return cache.NewReflector(source, c, cache.ReflectorOptions{
		Store: s.store(), Save: s.save(), Poll: s.poll(), Check: s.CheckInterval, Batch: batch.Limits{Busy: s.BatchBusy, Period: s.BatchPeriod},
		Health: checks.Component("cache"), Log: log, Memory: pacer, Fatal: stop, Metrics: metrics,
	})
}

// newTraces returns nil unless spans are recorded.
func newTraces(c *cache.Cache) *traces.Traces {
	if !tracing.On() {
		return nil
	}
	t := traces.New(func(uid string) bool { return c.Get(uid, time.Now()).Found })
	c.Subscribe(t)
	return t
}

// newHub comes after the traces and the lists, which have changes before its listeners.
func newHub(s *Settings, c *cache.Cache, _ *traces.Traces, _ *orders.Lists) *stream.Hub {
	return stream.NewHub(c, s.StreamClients)
}

func newCatchUp(s *Settings, db *bun.DB) *stream.CatchUp {
	conn := connector(s.Database, "stream")
	options := changes.Options{CheckSchema: checkSchema(db, zap.NewNop())}
	return stream.NewCatchUp(func() stream.Source { return changes.NewSource(conn, options) })
}

// newDoorbell listens on the primary, since a standby sends no notifications.
func newDoorbell(s *Settings, source *changes.Source, c *cache.Cache, traced *traces.Traces, stop fatal, metrics *prometheus.Registry, log *zap.Logger) *changes.Doorbell {
	where, options := s.Database, changes.DoorbellOptions{Ping: s.PingInterval, Fatal: stop, Metrics: metrics}
	if traced != nil {
		options.Announced = traced.Announced
	}
	if s.ListenURL != "" {
		where, options.Seen = config.Database{URL: s.ListenURL, URLFile: s.ListenURLFile}, source.Seen
	}
	return changes.NewDoorbell(connector(where, "doorbell"), options, c.Refresh, log)
}

func newLists(db *bun.DB, c *cache.Cache, lc fx.Lifecycle, metrics *prometheus.Registry) *orders.Lists {
	lists := orders.NewLists(db, c, metrics)
	lc.Append(fx.StopHook(lists.Stop))
	return lists
}

func newReadThrough(db *bun.DB, lc fx.Lifecycle, metrics *prometheus.Registry) *orders.ReadThrough {
	through := orders.NewReadThrough(db, metrics)
	lc.Append(fx.StopHook(through.Stop))
	return through
}

// newGuard returns who decides about requests, and the audit log if they need one.
func newGuard(s *Settings, checks *health.Registry, metrics *prometheus.Registry, lc fx.Lifecycle, log *zap.Logger) (
	guard *auth.Guard, control *access.Control, records *audit.Log, err error,
) {
	guard, err = auth.New(s.Auth, auth.Options{
		Addr: s.HTTPAddr, Web: s.Web, Log: log, Metrics: metrics, Health: checks,
		Answer: func(c *gin.Context, p *problem.Error) { control.Problem(c, p) },
	})
	if err == nil && guard.On() {
		if records, err = audit.Open(s.Audit, audit.Options{Program: program, Version: buildinfo.Read().String(), Log: log, Kafka: kafkasink.New(s.Kafka, log)}); err == nil {
			lc.Append(fx.StopHook(records.Close))
		}
	}
	control = access.New(guard, records, log)
	return guard, control, records, err
}

func newHandler(s *Settings, guard *auth.Guard, control *access.Control, o *orders.Orders, c *cache.Cache, reflector *cache.Reflector, through *orders.ReadThrough,
	hub *stream.Hub, catchUp *stream.CatchUp, traced *traces.Traces, metrics *prometheus.Registry, log *zap.Logger,
) *gin.Engine {
	site := page.New(page.Options{Orders: httpapi.NewPageOrders(o), Access: control, ConsoleURL: s.ConsoleURL, Log: log})
	control.Answer = site.Answer
	before := guard.CheckHost()
	if guard.On() {
		before = guard.Identify()
	}
	return httpapi.New(httpapi.Options{
		Orders:  o,
		Stats:   func() httpapi.Stats { return stats(s, c, reflector, through) },
		Metrics: metrics,
		Log:     log, AccessLog: s.HTTP.AccessLog,
		Streams: httpapi.Streams{Hub: hub, CatchUp: catchUp},
		Traces:  traced,
		Origins: s.CORSOrigins,
		Access:  control,
		Before:  []gin.HandlerFunc{before},
		Pages: func(r gin.IRouter) {
			site.Register(r)
			guard.Register(r)
		},
		Docs: site.Docs(httpapi.OpenAPI),
	})
}

// newServer closes the streams when it stops: a stop waits for requests to end, and
// streams do not end by themselves.
func newServer(s *Settings, api *gin.Engine, hub *stream.Hub, stop fatal, metrics *prometheus.Registry, log *zap.Logger) (*httpserver.Server, error) {
	handler, err := web.Behind(s.Web, api)
	return httpserver.New(httpserver.Options{
		Name: "API", Setting: "HTTP_ADDR", Addr: s.HTTPAddr, Handler: handler, ConnContext: httpapi.ConnContext,
		Settings: s.HTTP, Metrics: metrics, StopTimeout: s.StopTimeout, Died: stop, OnStop: hub.Close, Log: log,
	}), err
}

// limitMemory makes the runtime stay below the container's memory limit.
func limitMemory(s *Settings, log *zap.Logger) {
	limit, err := gcpacer.SetLimit()
	switch {
	case err != nil:
		log.Warn("cannot read the container's memory limit; set GOMEMLIMIT", zap.Error(err))
	case limit > 0 && s.CacheBytes > limit:
		log.Warn("CACHE_BYTES exceeds the memory limit", zap.Int64("cache_bytes", s.CacheBytes), zap.Int64("memory_limit", limit))
	case limit > 0:
		log.Info("memory limit set", zap.Int64("memory_limit", limit))
	}
}

func start[P lifecycle.Part](lc fx.Lifecycle, part P) {
	lc.Append(fx.StartStopHook(part.Start, part.Stop))
}
