// Package httpapi is the REST API over HTTP. Each route has a file of its name.
//
// Errors are problem+json (RFC 9457); problems.go has their kinds. An answer never
// describes an internal error: that is logged.
package httpapi

import (
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
	"github.com/orderhub/orderhub/services/read-api/internal/traces"
)

// Options of the API.
type Options struct {
	Orders  *orders.Orders
	Stats   func() Stats
	Metrics prometheus.Registerer
	Log     *zap.Logger
	// AccessLog is how many requests are logged in a second at most.
	AccessLog int
	Streams   Streams
	// Origins are those whose pages may read the API; "*" allows any. Default: only
	// the API's own.
	Origins []string
	// Access says who may ask for what. Default: everybody for everything.
	Access *access.Control
	// Before are handlers before those of all routes.
	Before []gin.HandlerFunc
	// Pages adds routes that are not the API's. Default: there are none.
	Pages func(gin.IRouter)
	// Docs shows OpenAPI at /docs. Default: there is no such address.
	Docs gin.HandlerFunc
	// Traces has the orders that are traced. Default: none.
	Traces *traces.Traces
}

const streamPath = "/api/v1/orders/stream"

type api struct {
	Options
	cacheable []string // the value of Cache-Control of what clients may keep
	events    prometheus.Counter
	ended     *prometheus.CounterVec // streams
	turn      chan struct{}          // holds the snapshot or export that reads
}

// New returns the handler of all routes.
func New(o Options) *gin.Engine {
	if o.Access == nil {
		o.Access = access.New(nil, nil, o.Log)
	}
	a := &api{Options: o, cacheable: revalidate, turn: make(chan struct{}, 1)}
	if o.Access.On() {
		a.cacheable = revalidatePrivately
	}
	a.events = metric.Counter(o.Metrics, "orderhub_stream_events_total", "Events sent to clients.")
	a.ended = metric.Counters(o.Metrics, "orderhub_stream_ended_total", "Streams that have ended, by reason.", "reason", "client", "slow", "stop", "credential", "unavailable")
	durations := web.NewDurations(o.Metrics)
	engine := web.NewEngine(web.EngineOptions{
		First: []gin.HandlerFunc{durations.Measure},
		Log:   o.Log, AccessLog: o.AccessLog,
		Answer: a.problem,
	})
	if len(o.Origins) > 0 {
		engine.Use(crossOrigin(o.Origins, o.Access.On()))
	}
	engine.Use(o.Before...)
	get := func(r gin.IRouter, name, path string, handlers ...gin.HandlerFunc) {
		durations.Add(path, name)
		web.Get(r, path, handlers...)
	}
	one, many := engine.Group("", o.Access.Read(access.CostOrder)...), engine.Group("", o.Access.Read(access.CostList)...)
	get(one, "order", "/order/:order_uid", a.stale, a.plain, a.order)
	get(one, "order", "/api/v1/orders/:order_uid", a.stale, a.order)
	get(many, "versions", "/api/v1/orders/:order_uid/versions", a.stale, a.versions)
	get(one, "version", "/api/v1/orders/:order_uid/versions/:version", a.stale, a.version)
	get(many, "orders", "/api/v1/orders", a.stale, a.list)
	// The durations of streams and exports would say nothing beside those of requests.
	many.GET(streamPath, append(o.Access.Stream(), a.stale, a.stream)...)
	many.HEAD(streamPath, a.stale, a.streamHead)
	web.Get(many, exportPath, append(o.Access.Stream(), a.stale, a.export)...)
	get(many, "suggest", "/api/v1/suggest", a.stale, a.suggest)
	get(one, "stats", "/api/v1/stats", a.stale, a.plain, a.stats)
	get(engine, "problems", "/problems/:name", a.plain, web.Secure, a.problemPage)
	get(one, "docs", "/openapi.yaml", a.plain, a.openAPI)
	get(one, "docs", "/schemas/order.json", a.plain, a.schema)
	if o.Docs != nil {
		get(one, "docs", "/docs", a.plain, o.Docs)
	}
	if o.Pages != nil {
		o.Pages(engine)
	}
	for _, route := range engine.Routes() {
		if route.Path != streamPath && route.Path != exportPath {
			durations.Add(route.Path, "page")
		}
	}
	return engine
}

// plain refuses requests with parameters: the route has none.
func (a *api) plain(c *gin.Context) {
	if c.Request.URL.RawQuery == "" {
		return // without an allocation
	}
	if q := readQuery(c.Request.URL.RawQuery); q.refused != nil {
		a.problem(c, q.refused)
	}
}
