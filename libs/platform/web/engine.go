package web

import (
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// EngineOptions of NewEngine.
type EngineOptions struct {
	// First are handlers that run before all others, outside of the recovery: what
	// measures requests sees the status of a panic, too.
	First []gin.HandlerFunc
	// Log gets the panics of handlers, and AccessLog requests a second at most.
	Log       *zap.Logger
	AccessLog int
	// Answer writes a problem. Default: Problem.
	Answer func(*gin.Context, *problem.Error)
}

// maxHeaderBytes is the limit of a request's line and header together. net/http reads
// more than any browser sends, 1 MiB, so that a handler answers what is over the limit:
// net/http itself answers with a few words of text.
const maxHeaderBytes = 64 << 10

func headerLimit(o EngineOptions) gin.HandlerFunc {
	return func(c *gin.Context) {
		r := c.Request
		size := len(r.Method) + len(r.RequestURI) + len(r.Host)
		for name, values := range r.Header {
			for _, value := range values {
				size += len(name) + len(value) + len(": \r\n")
			}
		}
		if size > maxHeaderBytes {
			o.Answer(c, problem.LongHeader.New("The request's line and header are longer than 64 KiB. If a browser sent it, delete the cookies of this site: those of other programs at the same host name come along."))
			c.Abort()
		}
	}
}

// NewEngine returns a gin engine without routes. It trusts no proxy, redirects no
// address to a similar one, gives each request an id, and answers unknown addresses,
// wrong methods and panics with a problem.
func NewEngine(o EngineOptions) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	if o.Answer == nil {
		o.Answer = func(c *gin.Context, p *problem.Error) { Problem(c, p) }
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.HandleMethodNotAllowed = true
	if err := engine.SetTrustedProxies(nil); err != nil {
		panic(err) // it parses the addresses given, and there are none
	}
	if tracing.On() {
		engine.Use(traced)
	}
	engine.Use(name)
	engine.Use(o.First...)
	if o.AccessLog > 0 {
		engine.Use(logRequests(o.Log, o.AccessLog))
	}
	engine.Use(recovery(o), headerLimit(o))
	engine.NoRoute(func(c *gin.Context) { o.Answer(c, problem.NoSuchAddress.New("There is nothing at this address.")) })
	engine.NoMethod(func(c *gin.Context) {
		o.Answer(c, problem.WrongMethod.New("This address answers "+c.Writer.Header().Get("Allow")+" only."))
	})
	return engine
}

// recovery answers a panic with a problem that does not describe it.
func recovery(o EngineOptions) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler { //nolint:errorlint // net/http documents this very value
				panic(cause)
			}
			Log(c, o.Log).Error("handler panicked", zap.String("route", c.FullPath()), zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
			if c.Writer.Written() {
				panic(http.ErrAbortHandler) // the client must not take half an answer for a whole one
			}
			o.Answer(c, problem.Of(nil))
		}()
		c.Next()
	}
}

// Get adds a route for GET and HEAD.
func Get(r gin.IRouter, path string, handlers ...gin.HandlerFunc) {
	r.Match([]string{http.MethodGet, http.MethodHead}, path, handlers...)
}

// retryAfter is in seconds.
const retryAfter = "1"

// Problem answers a request with an error, and ends its handling.
func Problem(c *gin.Context, err error) {
	p := problem.Of(err)
	h := c.Writer.Header()
	for _, name := range []string{"ETag", "Content-Length", "Content-Encoding", "Age"} { // of an answer that was begun
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.Kind.Code == errs.Unavailable {
		h.Set("Retry-After", retryAfter)
	}
	c.Abort()
	c.Data(p.Status(), problem.ContentType, p.JSON(Prefix(c.Request), RequestID(c)))
}

// traced records requests in the client's trace, if it sampled that. A span names the
// route, not the address: its parameters may hold personal data.
func traced(c *gin.Context) {
	ctx := propagation.TraceContext{}.Extract(c.Request.Context(), propagation.HeaderCarrier(c.Request.Header))
	name := c.Request.Method
	if route := c.FullPath(); route != "" {
		name += " " + route
	}
	ctx, span := tracing.Begin(ctx, name, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.HTTPRequestMethodKey.String(c.Request.Method), semconv.HTTPRoute(c.FullPath())))
	if !span.IsRecording() {
		return
	}
	c.Request = c.Request.WithContext(ctx)
	defer func() {
		status := c.Writer.Status()
		span.SetAttributes(semconv.HTTPResponseStatusCode(status))
		if status >= 500 {
			tracing.Fail(span, strconv.Itoa(status))
		}
		span.End()
	}()
	c.Next()
}
