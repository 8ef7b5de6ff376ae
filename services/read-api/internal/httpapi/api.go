// Package httpapi is the REST API over HTTP. Each route has a file of its name.
//
// Errors are problem+json (RFC 9457); problems.go has their kinds. An answer never
// describes an internal error: that is logged.
package httpapi

import (
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// Options of the API.
type Options struct {
	Orders  *orders.Orders
	Stats   func() Stats
	Metrics prometheus.Registerer
	Log     *zap.Logger
	Streams Streams
	// Origins are those whose pages may read the API; "*" allows any. Default: only
	// the API's own.
	Origins []string
	// Page adds the routes of the web page. Default: there is none.
	Page func(gin.IRouter)
	// Failed answers an error at an address of Page or Docs. Default: as the API does.
	Failed func(*gin.Context, *problem.Error)
	// Docs shows OpenAPI at /docs. Default: there is no such address.
	Docs gin.HandlerFunc
}

const streamPath = "/api/v1/orders/stream"

type api struct {
	Options
	pages map[string]bool // addresses that people look at
}

// New returns the handler of all routes.
func New(o Options) *gin.Engine {
	a := &api{Options: o, pages: map[string]bool{}}
	durations := newDurations(o.Metrics)
	engine := web.NewEngine(web.EngineOptions{
		First: []gin.HandlerFunc{durations.measure},
		OnPanic: func(route string, cause any, stack []byte) {
			o.Log.Error("handler panicked", zap.String("route", route), zap.Any("panic", cause), zap.ByteString("stack", stack))
		},
		Answer: a.problem,
	})
	if len(o.Origins) > 0 {
		engine.Use(crossOrigin(o.Origins))
	}
	get := func(name, path string, handlers ...gin.HandlerFunc) {
		durations.add(path, name)
		web.Get(engine, path, handlers...)
	}
	get("order", "/order/:order_uid", a.plain, a.order)
	get("order", "/api/v1/orders/:order_uid", a.plain, a.order)
	get("orders", "/api/v1/orders", a.list)
	// The duration of a stream would say nothing beside those of requests.
	engine.GET(streamPath, a.stream)
	engine.HEAD(streamPath, a.streamHead)
	get("suggest", "/api/v1/suggest", a.suggest)
	get("stats", "/api/v1/stats", a.plain, a.stats)
	get("problems", "/problems/:name", a.plain, web.Secure, a.problemPage)
	get("docs", "/openapi.yaml", a.plain, a.openAPI)
	if o.Docs != nil {
		get("docs", "/docs", a.plain, o.Docs)
		a.pages["/docs"] = true
	}
	if o.Page != nil {
		o.Page(engine)
		for _, route := range engine.Routes() {
			if _, api := durations.routes[route.Path]; !api && route.Path != streamPath {
				durations.add(route.Path, "page")
				a.pages[route.Path] = true
			}
		}
	}
	return engine
}

// plain refuses requests with parameters: the route has none.
func (a *api) plain(c *gin.Context) {
	if c.Request.URL.RawQuery != "" {
		a.problem(c, readQuery(c.Request.URL.RawQuery).refused)
	}
}
