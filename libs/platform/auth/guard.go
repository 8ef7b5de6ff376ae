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
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// Options of a Guard. Addr, Log and Health are required.
type Options struct {
	Addr string       // to listen on, as host:port
	Web  web.Settings // which proxies are before the program
	Log  *zap.Logger
	// Health gets a component where there is an issuer. It is not ready until the issuer
	// has answered, unless there are static tokens, too.
	Health  *health.Registry
	Metrics prometheus.Registerer // default: none
	// Answer writes a refusal. Default: web.Problem.
	Answer func(*gin.Context, *problem.Error)
	// Off returns the caller of a request with HTTP_AUTH=off. Default: one with all
	// scopes.
	Off func(*gin.Context) *Caller
}

// Guard finds and checks callers. It is a lifecycle.Part: until Start, tokens are not
// reloaded, and JWTs are not known. Methods are safe for concurrent use.
type Guard struct {
	settings Settings
	opts     Options
	hosts    []string // nil: any
	policy   []string // value of the header RateLimit-Policy

	tokens     *tokens // nil: none
	issuer     *issuer // nil: none
	verified   *lru.Cache[credential, *Caller]
	allowances *lru.Cache[string, *allowance]
	open       sync.Map // *http.Request of each open stream with a JWT, to its *Caller
	metrics    *metrics
	complaints rate.Sometimes
	runner     lifecycle.Runner
	people     *people // nil: nobody can sign in
}

// credential is what a caller is remembered by.
type credential struct {
	cookie bool
	hash   [sha256.Size]byte
}

// New makes a guard. It refuses settings that would open the program to people whom
// nobody has decided to let in, and a file of tokens that it cannot use.
func New(s Settings, o Options) (*Guard, error) {
	if err := s.Check(o.Addr, o.Web.Behind()); err != nil {
		return nil, err
	}
	if o.Answer == nil {
		o.Answer = func(c *gin.Context, p *problem.Error) { web.Problem(c, p) }
	}
	off := NewCaller(KindOff, "", AllScopes, time.Time{})
	if o.Off == nil {
		o.Off = func(*gin.Context) *Caller { return off }
	}
	g := &Guard{settings: s, opts: o, hosts: hostNames(s.Hosts, o), metrics: newMetrics(o.Metrics), complaints: rate.Sometimes{First: 10, Interval: time.Second}}
	g.policy = []string{fmt.Sprintf(`"requests";q=%d;w=%d`, s.Burst, max(1, s.Burst/max(1, s.Rate)))}
	g.verified, _ = lru.New[credential, *Caller](maxCallers) // it fails for a size below 1 only
	g.allowances, _ = lru.New[string, *allowance](maxCallers)
	if !g.On() {
		return g, nil
	}
	if s.TokensFile != "" {
		g.tokens = &tokens{path: s.TokensFile, log: o.Log, new: func(t staticToken) *Caller {
			return g.newCaller(KindToken, t.name, "token "+t.name, t.scopes, t.expires)
		}}
		text, err := os.ReadFile(s.TokensFile)
		if err == nil {
			err = g.tokens.load(text)
		}
		if err != nil {
			return nil, fmt.Errorf("HTTP_TOKENS_FILE: %w", err)
		}
	}
	if s.Issuer != "" {
		g.issuer = newIssuer(&g.settings, g.metrics)
	}
	var err error
	if s.ClientID != "" {
		g.people, err = newPeople(g)
	}
	return g, err
}

// On tells whether requests need a credential.
func (g *Guard) On() bool { return g.settings.Auth == "on" }

// SignIn tells whether people can sign in at /signin.
func (g *Guard) SignIn() bool { return g.people != nil }

// Start begins to follow the file of tokens and the issuer. It waits for neither.
func (g *Guard) Start(context.Context) error {
	if g.tokens != nil {
		g.runner.Go(g.tokens.follow)
	}
	if g.issuer != nil {
		component := g.opts.Health.Component("identity provider")
		g.runner.Go(func(ctx context.Context) {
			g.issuer.follow(ctx, g.opts.Log, component, func() { g.verifyAgain(ctx) })
		})
	}
	return nil
}

// Stop ends what Start began.
func (g *Guard) Stop() {
	g.runner.Stop()
	if g.issuer != nil {
		g.issuer.keys.next.CloseIdleConnections()
	}
}

// verifyAgain forgets who was verified, perhaps with a key that is withdrawn by now, and
// ends the streams of JWTs that no longer count.
func (g *Guard) verifyAgain(ctx context.Context) {
	g.verified.Purge()
	g.open.Range(func(request, caller any) bool {
		_, _, err := g.issuer.verify(ctx, bearer(request.(*http.Request)), g.settings.Audience)
		if err != nil && !errors.Is(err, errAway) && ctx.Err() == nil {
			caller.(*Caller).end()
		}
		return ctx.Err() == nil
	})
}

// newCaller returns a caller that shares its allowance with all who have the same id.
func (g *Guard) newCaller(kind, name, id string, scopes Scope, expires time.Time) *Caller {
	caller := NewCaller(kind, name, scopes, expires)
	caller.allowance = g.allowanceOf(id)
	return caller
}

// hostNames are the names that requests may be for. A program on loopback answers to no
// others unless it is told to, so that no site can point its own name at this machine.
func hostNames(given []string, o Options) (names []string) {
	for _, name := range given {
		names = append(names, strings.ToLower(strings.TrimSpace(name)))
	}
	if names == nil && config.IsLoopback(o.Addr) && !o.Web.Behind() {
		names = []string{"localhost"}
	}
	return names
}

// knowsHost tells whether a request is for this program. An address, unlike a name,
// cannot be pointed elsewhere.
func (g *Guard) knowsHost(host string) bool {
	if g.hosts == nil {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if slices.Contains(g.hosts, host) {
		return true
	}
	_, notAddress := netip.ParseAddr(host)
	return notAddress == nil
}

// CheckHost is a handler that only refuses foreign host names, for programs that ask
// nobody who they are and change nothing.
func (g *Guard) CheckHost() gin.HandlerFunc {
	return func(c *gin.Context) { _ = g.checkHost(c) }
}

// checkHost answers a request for a foreign host, and returns false.
func (g *Guard) checkHost(c *gin.Context) bool {
	known := g.knowsHost(c.Request.Host)
	if !known {
		g.refuse(c, "host", WrongHost.New("The program does not answer to this host name. Whoever runs it can add the name to HTTP_HOSTS."))
	}
	return known
}

// crossOrigin refuses changes that browsers say come from other sites.
var crossOrigin = http.NewCrossOriginProtection()

// varies is the header Vary of answers that depend on who asks; it is never written to.
var varies = []string{"Authorization, Cookie"}

// Identify is a handler that finds the caller, once per request. It refuses wrong tokens,
// foreign host names, and changes that another site's page asks for. A request without
// a credential passes: Require refuses it.
func (g *Guard) Identify() gin.HandlerFunc {
	return func(c *gin.Context) {
		token := bearer(c.Request)
		switch {
		case !g.checkHost(c):
		case token == "" && crossOrigin.Check(c.Request) != nil:
			g.refuse(c, "cross_site", CrossSite.New("Only the program's own pages may change anything."))
		case !g.On():
			c.Set(callerKey, g.opts.Off(c))
		default:
			h := c.Writer.Header()
			h["Vary"] = append(varies[:1:1], h["Vary"]...)
			cookie := token == "" && g.people != nil
			if cookie {
				token = g.people.read(c.Request, sessionCookie, "")
			}
			if token != "" {
				g.identify(c, cookie, token)
			}
		}
	}
}

// bearer is the token of a request; "" without one.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// identify finds the caller of a token or session cookie, which is verified once. A
// cookie that is not valid is as good as none.
func (g *Guard) identify(c *gin.Context, cookie bool, text string) {
	// The text is only read, so it need not be copied.
	key := credential{cookie, sha256.Sum256(unsafe.Slice(unsafe.StringData(text), len(text)))}
	caller, known := g.verified.Get(key)
	if known && caller.valid() {
		g.metrics.cached.Inc()
		c.Set(callerKey, caller)
		return
	}
	if caller = nil; !cookie && g.tokens != nil {
		caller = g.tokens.find(key.hash)
	}
	// A static token is found whoever else has used the address up: nobody guesses one.
	if !cookie && caller == nil && g.settings.RefusedRate > 0 && g.strangers(c).requests.Tokens() < 1 {
		g.tooMany(c, "rate", "Too many requests with wrong credentials come from this address.", 1)
		return
	}
	var reason, err error
	switch {
	case cookie:
		caller = g.people.caller(text)
	case caller != nil:
	case g.issuer != nil && g.settings.Audience != "" && strings.Count(text, ".") == 2:
		caller, reason, err = g.verify(c.Request.Context(), text)
	default:
		err = errInvalid
	}
	if err == nil && caller != nil && !caller.valid() {
		err = errExpired
	}
	if caller != nil && err == nil {
		g.metrics.verified.Inc()
		g.verified.Add(key, caller)
		c.Set(callerKey, caller)
	} else if !cookie {
		g.wrong(c, err, reason)
	}
}

func (g *Guard) verify(ctx context.Context, token string) (caller *Caller, reason, err error) {
	claims, reason, err := g.issuer.verify(ctx, token, g.settings.Audience)
	if err != nil {
		return nil, reason, err
	}
	return g.newCaller(KindJWT, claims.name(), "subject "+claims.Subject, claims.scopes, claims.expires), nil, nil
}

// Require is a handler that refuses callers without all of these scopes, those who ask
// too often, and a session's change without its CSRF token. It costs 1 of the caller's
// allowance.
func (g *Guard) Require(s Scope) gin.HandlerFunc { return g.RequireCost(s, 1) }

// RequireCost is Require for a route that costs more than reading an order.
func (g *Guard) RequireCost(s Scope, cost int) gin.HandlerFunc {
	return func(c *gin.Context) {
		caller := CallerOf(c)
		if caller.Kind == kindNone {
			g.missing(c, s)
			return
		}
		if g.charge(c, caller.allowance, cost); c.IsAborted() {
			return
		}
		if !caller.May(s) {
			c.Header("WWW-Authenticate", `Bearer realm="orderhub", error="insufficient_scope", scope="`+s.String()+`"`)
			g.refuse(c, "scope", Forbidden.New("The credential lacks a scope that this needs: "+(s&^caller.Scopes).String()+"."))
			return
		}
		change := c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead
		if change && caller.CSRF != "" && !fromOwnPage(c.Request, caller.CSRF) {
			g.refuse(c, "cross_site", CrossSite.New("The form is out of date, or not this program's. Load the page again and repeat what you did."))
		}
	}
}

// missing answers a request without a credential. Browsers go to the sign-in.
func (g *Guard) missing(c *gin.Context, s Scope) {
	if !g.strangers(c).requests.Allow() {
		g.tooMany(c, "rate", "Too many requests without a credential come from this address.", 1)
		return
	}
	r := c.Request
	if g.people != nil && r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
		g.metrics.refused.WithLabelValues("missing").Inc()
		c.Header("Cache-Control", "no-store")
		web.Redirect(c, signInPath+"?to="+url.QueryEscape(r.URL.RequestURI()))
		c.Abort()
		return
	}
	c.Header("WWW-Authenticate", `Bearer realm="orderhub", scope="`+s.String()+`"`)
	g.refuse(c, "missing", Unauthorized.New("This needs a credential with these scopes: "+s.String()+"."))
}

// wrong answers a request whose token is not valid.
func (g *Guard) wrong(c *gin.Context, err, reason error) {
	g.complaints.Do(func() {
		web.Log(c, g.opts.Log).Info("token refused", zap.String("client", c.ClientIP()), zap.Error(err), zap.NamedError("reason", reason))
	})
	g.strangers(c).requests.Allow()
	if errors.Is(err, errAway) {
		g.refuse(c, "issuer", IssuerAway.New("The token cannot be checked now. Try again in a moment."))
		return
	}
	c.Header("WWW-Authenticate", `Bearer realm="orderhub", error="invalid_token", error_description="`+err.Error()+`"`)
	g.refuse(c, "invalid", Unauthorized.New("Send another token: "+err.Error()+"."))
}

// refuse answers with a refusal, and ends the handling of the request.
func (g *Guard) refuse(c *gin.Context, reason string, p *problem.Error) {
	g.metrics.refused.WithLabelValues(reason).Inc()
	g.opts.Answer(c, p)
	c.Abort()
}
