// Package httpapi is the REST API over HTTP: routes, headers, errors.
//
// Errors are problem+json (RFC 9457); their types are explained at
// /problems/{name}. What a request can't cause never shows in an answer: it is
// logged.
package httpapi

import (
	"net/http"
	"runtime/debug"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// Options of the API.
type Options struct {
	Orders  *orders.Orders
	Stats   func() Stats
	Metrics prometheus.Registerer
	Log     *zap.Logger
	Streams Streams
	// Page adds the web page's routes; nil: there is none.
	Page func(gin.IRouter)
}

type api struct {
	Options
	lengths []string // decimal numbers, so that a hit needs none made
}

// New builds the handler of all routes.
func New(o Options) http.Handler {
	a := &api{Options: o, lengths: decimals(maxPreparedLength)}
	durations := newDurations(o.Metrics)

	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.HandleMethodNotAllowed = true
	if err := engine.SetTrustedProxies(nil); err != nil {
		panic(err) // it parses the addresses given, and none are
	}
	engine.NoRoute(durations.of("none"), a.noRoute)
	engine.NoMethod(durations.of("none"), a.noMethod)

	get := func(path, route string, handler gin.HandlerFunc) {
		measured := durations.of(route)
		engine.GET(path, measured, a.recover, handler)
		engine.HEAD(path, measured, a.recover, handler)
	}
	get("/order/:order_uid", "order", a.order)
	get("/api/v1/orders/:order_uid", "order", a.order)
	get("/api/v1/orders", "orders", a.list)
	// A stream's duration would say nothing beside those of requests.
	engine.GET("/api/v1/orders/stream", a.recover, a.stream)
	get("/api/v1/stats", "stats", a.stats)
	get("/problems/:name", "problems", a.problemPage)
	docs := newDocs()
	get("/openapi.yaml", "docs", docs.serveOpenAPI)
	get("/docs", "docs", docs.servePage)
	if o.Page != nil {
		o.Page(engine.Group("", durations.of("page"), a.recover))
	}
	return engine
}

// recover answers a panic with a problem that says nothing of it, and logs it.
func (a *api) recover(c *gin.Context) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if cause == http.ErrAbortHandler { //nolint:errorlint // net/http asks for this very value
			panic(cause)
		}
		a.Log.Error("a request's handler panicked", zap.Any("panic", cause), zap.String("route", c.FullPath()),
			zap.ByteString("stack", debug.Stack()))
		if c.Writer.Written() {
			panic(http.ErrAbortHandler) // the client must not take half an answer for a whole one
		}
		a.problem(c, problemInternal, "The service failed to answer this request. Its log says why.")
	}()
	c.Next()
}

func (a *api) noRoute(c *gin.Context) {
	a.problem(c, problemNoRoute, "There is nothing at this address. Orders are at /order/{order_uid} and /api/v1/orders.")
}

func (a *api) noMethod(c *gin.Context) {
	a.problem(c, problemMethod, "This address answers "+c.Writer.Header().Get("Allow")+" only.")
}
