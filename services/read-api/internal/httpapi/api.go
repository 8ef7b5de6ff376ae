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
	// Origins are those whose pages may read the API, "*" is any; nil: none but its
	// own.
	Origins []string
	// Page adds the web page's routes; nil: there is none.
	Page func(gin.IRouter)
}

// API is the handler of all routes. A Server answers what is asked most without
// it, but as it would.
type API struct {
	http.Handler
	quick quickAnswer
}

type api struct {
	Options
	lengths        []string // decimal numbers, so that a hit needs none made
	orderDurations *routeDurations
	corsHead       string // header lines of quick answers
}

// New builds the handler.
func New(o Options) *API {
	durations := newDurations(o.Metrics)
	a := &api{Options: o, lengths: decimals(maxPreparedLength), orderDurations: durations.of("order"), corsHead: corsHead(o.Origins)}

	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.HandleMethodNotAllowed = true
	if err := engine.SetTrustedProxies(nil); err != nil {
		panic(err) // it parses the addresses given, and none are
	}
	if len(o.Origins) > 0 {
		engine.Use(cors(o.Origins))
	}
	engine.NoRoute(durations.of("none").handler, a.noRoute)
	engine.NoMethod(durations.of("none").handler, a.noMethod)

	get := func(path string, route *routeDurations, handlers ...gin.HandlerFunc) {
		handlers = append([]gin.HandlerFunc{route.handler, a.recover}, handlers...)
		engine.GET(path, handlers...)
		engine.HEAD(path, handlers...)
	}
	get("/order/:order_uid", a.orderDurations, a.order)
	get("/api/v1/orders/:order_uid", a.orderDurations, a.order)
	get("/api/v1/orders", durations.of("orders"), compress, a.list)
	// A stream's duration would say nothing beside those of requests.
	engine.GET("/api/v1/orders/stream", a.recover, a.stream)
	engine.HEAD("/api/v1/orders/stream", a.recover, a.streamHead)
	get("/api/v1/suggest", durations.of("suggest"), compress, a.suggest)
	get("/api/v1/stats", durations.of("stats"), a.plain, a.stats)
	get("/problems/:name", durations.of("problems"), a.plain, compress, a.problemPage)
	docs, docsDurations := newDocs(), durations.of("docs")
	get("/openapi.yaml", docsDurations, a.plain, compress, docs.serveOpenAPI)
	get("/docs", docsDurations, a.plain, compress, docs.servePage)
	if o.Page != nil {
		o.Page(engine.Group("", durations.of("page").handler, a.recover, compress))
	}
	return &API{engine, a.quick}
}

// plain lets those requests on that have no parameters.
func (a *api) plain(c *gin.Context) {
	if refused := noParameters(c.Request.URL); refused != nil {
		a.problem(c, refused.kind, refused.detail)
	}
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
