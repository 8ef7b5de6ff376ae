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
// Every request passes guard, which checks the host name, the origin and the session.
// Pages get letters from package dlqview, which masks personal data.
package console

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
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
	// Orders reads the stored orders; nil: letters are not compared.
	Orders dryrun.Orders
	// OrdersTopic is the topic that the worker reads.
	OrdersTopic string

	// Listen is the address to listen on, as it was given. It decides whether reading
	// needs the token, and which host names are accepted.
	Listen string
	// Web says which proxies are before the console: others reach it through them, so
	// reading needs the token then, too.
	Web web.Settings
	// Hosts are further host names to accept.
	Hosts []string
	// TLS says that the console is served over TLS.
	TLS bool
	// Token signs people in. It has at least MinTokenLength characters.
	Token string
	// Actor is the name that the sign-in page proposes.
	Actor string
	// Audit records who sees personal data and who changes letters; AuditSettings say
	// where its records are.
	Audit         *audit.Log
	AuditSettings audit.Settings

	// Explain adds to an error of the brokers or topics what to do about it.
	Explain func(error) error
	// Log reports failures of the console itself.
	Log *zap.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Console serves the pages. Its Handler works before Start, and says that the letters
// are being read.
type Console struct {
	opts     Options
	look     *web.Look
	live     *live
	jobs     *jobs
	searches searches
	sessions *sessions
	hosts    hostNames
	engine   *gin.Engine
	handler  http.Handler
}

// MinTokenLength is the smallest number of characters of a token.
const MinTokenLength = 16

// New makes a console. It refuses settings that would open it to too many people.
func New(opts Options) (*Console, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if len(opts.Token) < MinTokenLength {
		return nil, fmt.Errorf("the console's token has %d characters: at least %d keep it from being guessed", len(opts.Token), MinTokenLength)
	}
	_, port, err := net.SplitHostPort(opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("address to listen on: %w", err)
	}
	c := &Console{
		opts: opts, look: web.NewLook(assets, "assets", templates, "templates", templateFuncs),
		live: newLive(opts), jobs: newJobs(opts.Now), sessions: newSessions(opts.Token, port, opts.TLS, opts.Now), hosts: newHostNames(opts.Listen, opts.Hosts),
	}
	c.engine = web.NewEngine(web.EngineOptions{
		OnPanic: func(route string, cause any, stack []byte) {
			opts.Log.Error("panic", zap.String("route", route), zap.Any("cause", cause), zap.ByteString("stack", stack))
		},
		Answer: func(g *gin.Context, p *problem.Error) { c.refuse(g, refused(p.Status(), p.Kind.Title, p.Detail())) },
	})
	c.routes()
	c.handler, err = web.Behind(opts.Web, c.engine)
	return c, err
}

func (c *Console) routes() {
	c.engine.Use(c.guard)
	c.look.Register(c.engine)
	web.Get(c.engine, "/healthz", c.health)
	web.Get(c.engine, "/login", c.page("login", "Sign in", c.loginPage))
	c.engine.POST("/login", c.page("login", "Sign in", c.login))
	c.engine.POST("/jobs/dry-run", c.letterPages("Job", c.startJob)) // it changes nothing

	web.Get(c.engine, "/", c.letterPages("Overview", c.overviewPage))
	web.Get(c.engine, "/letters", c.letterPages("Letters", c.listPage))
	web.Get(c.engine, "/letter", c.letterPages("Letter", c.letterPage))
	web.Get(c.engine, "/confirm", c.letterPages("Confirm", c.confirmPage))
	web.Get(c.engine, "/jobs", c.page("jobs", "Jobs", c.jobsPage))
	web.Get(c.engine, "/jobs/:id", c.page("jobs", "Job", c.jobPage))
	web.Get(c.engine, "/audit", c.page("audit", "Audit log", c.auditPage))

	signedIn := c.engine.Group("", c.signedIn)
	signedIn.POST("/logout", c.logout)
	signedIn.POST("/letter/reveal", c.letterPages("Letter", c.reveal))
	signedIn.POST("/edit", c.letterPages("Edit a letter", c.editPage))
	signedIn.POST("/edit/check", c.checkEdit)
	signedIn.POST("/edit/send", c.letterPages("Edit a letter", c.sendEdit))
	signedIn.POST("/jobs", c.letterPages("Job", c.startJob))
	signedIn.POST("/jobs/:id/stop", c.page("jobs", "Job", c.stopJob))
}

// Handler answers all requests.
func (c *Console) Handler() http.Handler { return c.handler }

// Listen is the address that the console was made for.
func (c *Console) Listen() string { return c.opts.Listen }

// Start follows the topic in the background until Stop.
func (c *Console) Start(ctx context.Context) error { return c.live.Start(ctx) }

// Stop stops the jobs, waits until their results are written, and stops following.
func (c *Console) Stop() {
	c.jobs.Stop()
	c.live.Stop()
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
