// Package console is the web console for dead letters: an overview by cause,
// lists, single letters, and what can be done with them.
//
// All HTML comes from the templates of this package, and the address says what is
// shown. Everything except the validation of a value while it is typed works without
// JavaScript. The script asks for the same address again and replaces the parts that
// changed.
//
// live follows the topic and keeps a list of its letters, without values. Values are
// read again when a letter is shown. jobs are the operations on letters that were
// started in this process. The console writes to the topic and to the audit log only.
//
// Every request passes the guard of package auth, and each route names the scopes that it
// needs. Pages get letters from package dlqview, which masks personal data.
package console

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/accept"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

//go:embed assets
var assets embed.FS

//go:embed templates
var templates embed.FS

// Options of a Console.
type Options struct {
	// Store has the letters.
	Store *dlq.Queue

	// Codec has today's rules.
	Codec *model.Codec
	// Versions are the workers' settings.
	Versions orderwrite.Versions
	// Orders reads the stored orders; nil: letters are not compared.
	Orders dryrun.Orders
	// Accept accepts conflicts; nil: there is no database to do so.
	Accept *accept.Acceptor
	// OrdersTopic is the topic that the worker reads.
	OrdersTopic string
	// TraceURL is the template of links to traces, see dlqview.TraceLink; it may be "".
	TraceURL string

	// Listen is the address to listen on, as it was given, and Web says which proxies are
	// before the console. With HTTP_AUTH=off reading needs the token where others than
	// this machine's users reach the console.
	Listen string
	Web    web.Settings
	// Auth says who may do what.
	Auth auth.Settings
	// Token signs people in with HTTP_AUTH=off. It has at least MinTokenLength characters.
	Token string
	// Actor is the name that the sign-in page proposes.
	Actor string
	// Audit records who sees personal data and who changes letters; AuditSettings say
	// where its records are.
	Audit         *audit.Log
	AuditSettings audit.Settings

	// Explain adds to an error of the brokers or topics what to do about it.
	Explain func(error) error
	// Metrics and Health get what the admin port shows; nil: nobody sees it.
	Metrics prometheus.Registerer
	Health  *health.Registry
	// Log reports failures of the console itself.
	Log *zap.Logger
	// AccessLog is how many requests are logged in a second at most.
	AccessLog int
	// Now is the clock of sessions; nil means time.Now.
	Now func() time.Time
}

// Console serves the pages. Its Handler works before Start, and says that the letters
// are being read.
type Console struct {
	opts     Options
	look     *web.Look
	live     *live
	jobs     *jobs
	searched *lru.Cache[string, searched]
	edited   *lru.Cache[[3]string, time.Time] // see auditedEdit
	guard    *auth.Guard
	typed    *auth.Typed  // with HTTP_AUTH=off
	reader   *auth.Caller // who looks without signing in, with HTTP_AUTH=off
	engine   *gin.Engine
	handler  http.Handler

	searching sync.Mutex // one search at a time
}

// MinTokenLength is the smallest number of characters of a token.
const MinTokenLength = 16

// New makes a console. It refuses settings that would open it to too many people.
func New(opts Options) (*Console, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Metrics == nil {
		opts.Metrics = prometheus.NewRegistry()
	}
	if opts.Health == nil {
		opts.Health = health.NewRegistry()
	}
	c := &Console{
		opts: opts, look: web.NewLook(assets, "assets", templates, "templates", templateFuncs),
		live: newLive(opts), jobs: newJobs(), reader: auth.NewCaller(auth.KindOff, "", auth.LettersRead, time.Time{}),
	}
	c.searched, _ = lru.New[string, searched](keptSearches) // it fails for a size below 1 only
	c.edited, _ = lru.New[[3]string, time.Time](10_000)
	var err error
	c.guard, err = auth.New(opts.Auth, auth.Options{Addr: opts.Listen, Web: opts.Web, Log: opts.Log, Metrics: opts.Metrics, Health: opts.Health, Answer: c.answer, Off: c.off})
	if err != nil {
		return nil, err
	}
	if !c.guard.On() {
		if len(opts.Token) < MinTokenLength {
			return nil, fmt.Errorf("the console's token has %d characters: at least %d keep it from being guessed", len(opts.Token), MinTokenLength)
		}
		if c.typed, err = auth.NewTyped(opts.Listen, strings.TrimSpace(opts.Token), read|personal|act, opts.Now); err != nil {
			return nil, err
		}
	}
	durations := web.NewDurations(opts.Metrics)
	c.engine = web.NewEngine(web.EngineOptions{
		First: []gin.HandlerFunc{durations.Measure}, Log: opts.Log, AccessLog: opts.AccessLog, Answer: c.answer,
	})
	c.routes()
	for _, route := range c.engine.Routes() {
		durations.Add(route.Path, route.Path)
	}
	opts.Metrics.MustRegister(c.live)
	c.handler, err = web.Behind(opts.Web, c.engine)
	return c, err
}

// The scopes that routes need.
const (
	read     = auth.LettersRead
	personal = auth.LettersPersonal
	act      = auth.LettersAct
)

// costList is what pages of many letters cost of a caller's limit; all others cost 1.
const costList = 10

func (c *Console) routes() {
	c.engine.Use(c.prepare, c.guard.Identify(), c.readForm)
	c.look.Register(c.engine)
	web.Get(c.engine, "/healthz", c.health)
	web.Get(c.engine, "/login", c.page("login", "Sign in", c.loginPage))
	c.guard.Register(c.engine)
	with := func(scopes auth.Scope) *gin.RouterGroup { return c.engine.Group("", c.guard.Require(scopes)) }
	if !c.guard.On() {
		c.engine.POST("/login", c.page("login", "Sign in", c.login))
		with(read|act).POST("/logout", c.logout)
	}

	reading := with(read)
	listing := c.engine.Group("", c.guard.RequireCost(read, costList))
	web.Get(listing, "/", c.letterPages("Overview", c.overviewPage))
	web.Get(listing, "/letters", c.letterPages("Letters", c.listPage))
	web.Get(listing, "/confirm", c.letterPages("Confirm", c.confirmPage))
	listing.POST("/jobs/dry-run", c.letterPages("Job", c.startJob)) // it changes nothing
	web.Get(reading, "/letter", c.letterPages("Letter", c.letterPage))
	web.Get(reading, "/jobs", c.page("jobs", "Jobs", c.jobsPage))
	web.Get(reading, "/jobs/:id", c.page("jobs", "Job", c.jobPage))
	web.Get(reading, "/audit", c.page("audit", "Audit log", c.auditPage))

	with(read|personal).POST("/letter/reveal", c.letterPages("Letter", c.reveal))
	acting := with(read | act)
	acting.POST("/jobs", c.letterPages("Job", c.startJob))
	acting.POST("/jobs/:id/stop", c.page("jobs", "Job", c.stopJob))
	editing := with(read | personal | act)
	editing.POST("/edit", c.letterPages("Edit a letter", c.editPage))
	editing.POST("/edit/check", c.checkEdit)
	editing.POST("/edit/send", c.letterPages("Edit a letter", c.sendEdit))
}

// Handler answers all requests.
func (c *Console) Handler() http.Handler { return c.handler }

// Listen is the address that the console was made for.
func (c *Console) Listen() string { return c.opts.Listen }

// Known are the letters as they were read last, newest first, not to be changed, and the
// version of that; empty: they were not read yet.
func (c *Console) Known() (letters []dlq.Ref, version string) {
	if l := c.live.state().List; l != nil {
		return l.refs, l.version
	}
	return nil, ""
}

// Current reads what was written to the topics since.
func (c *Console) Current(ctx context.Context) (*dlq.View, error) { return c.live.catchUp(ctx) }

// Start follows the topic in the background until Stop.
func (c *Console) Start(ctx context.Context) error {
	return errors.Join(c.guard.Start(ctx), c.live.Start(ctx))
}

// Stop stops the jobs, waits until their results are written, and stops following.
func (c *Console) Stop() {
	c.jobs.Stop()
	c.live.Stop()
	c.guard.Stop()
}

func (c *Console) health(g *gin.Context) {
	if c.live.state().List == nil {
		g.String(http.StatusServiceUnavailable, "the letters are not read yet\n")
		return
	}
	g.String(http.StatusOK, "ok\n")
}

// explain makes an error readable.
func (c *Console) explain(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "It took too long. Narrow it down, or try again."
	}
	if c.opts.Explain != nil {
		err = c.opts.Explain(err)
	}
	return err.Error()
}
