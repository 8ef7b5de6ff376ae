package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

//go:embed assets
var assets embed.FS

//go:embed templates
var templates embed.FS

// Options of a Console.
type Options struct {
	// Client reads and writes the topics; Store is on it.
	Client *dlq.Client
	Store  *dlq.Queue
	// Topic holds our letters and all resolutions; Foreign, if not empty, the
	// letters that somebody else wrote, which are shown instead.
	Topic, Foreign string

	// Codec has today's rules.
	Codec *model.Codec
	// Orders gives the stored orders; nil: letters are compared with none.
	Orders dryrun.Orders
	// OrdersTopic is where orders come from.
	OrdersTopic string

	// Listen is the address that is listened on, as it was given: it decides who
	// may read, and what the console may be called.
	Listen string
	// Hosts are further names by which the console may be called.
	Hosts []string
	// TLS says that it is served over TLS.
	TLS bool
	// Token is what signs people in.
	Token string
	// Actor is proposed as the name of who signs in.
	Actor string
	// AuditLog is the path of the audit log.
	AuditLog string

	// Explain says what is wrong with the brokers or topics, and what to do.
	Explain func(error) error
	// Log tells about faults of the console's own.
	Log func(format string, args ...any)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Console serves the pages. Make one with New, Start it, and Close it at the end.
type Console struct {
	opts     Options
	store    *dlq.Queue
	look     *web.Look
	live     *live
	jobs     *jobs
	searches *searches
	sessions *sessions
	handler  http.Handler

	stop    context.CancelFunc
	stopped chan struct{}
}

// MinTokenLength is how long a token must be.
const MinTokenLength = 16

// New makes a console. It refuses settings that would open it to more people than
// they should.
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
	letters := opts.Topic
	if opts.Foreign != "" {
		letters = opts.Foreign
	}
	c := &Console{
		opts: opts, store: opts.Store,
		look: web.NewLook(assets, "assets", templates, "templates", templateFuncs),
		live: newLive(opts.Client, opts.Store, letters, opts.Topic, opts.Now), jobs: newJobs(opts.Now), searches: newSearches(opts.Now),
		sessions: newSessions(opts.Token, port, opts.TLS, opts.Now),
		stop:     func() {}, stopped: make(chan struct{}),
	}
	g := &guard{sessions: c.sessions, hosts: newHostNames(opts.Listen, opts.Hosts), open: IsLoopback(opts.Listen), tls: opts.TLS, deny: c.refuse}
	c.handler = g.wrap(c.routes(g))
	return c, nil
}

func (c *Console) routes(g *guard) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /assets/{name}", c.look)
	mux.HandleFunc("GET /healthz", c.health)
	mux.HandleFunc("GET /login", c.loginPage)
	mux.HandleFunc("POST /login", c.login)
	mux.HandleFunc("POST /logout", g.changing(c.logout))

	mux.HandleFunc("GET /{$}", c.overviewPage)
	mux.HandleFunc("GET /letters", c.lettersPage)
	mux.HandleFunc("GET /letter", c.letterPage)
	mux.HandleFunc("POST /letter/reveal", g.changing(c.reveal))
	mux.HandleFunc("POST /edit", g.changing(c.editPage))
	mux.HandleFunc("POST /edit/check", g.changing(c.checkEdit))
	mux.HandleFunc("POST /edit/send", g.changing(c.sendEdit))
	mux.HandleFunc("GET /confirm", c.confirmPage)
	mux.HandleFunc("POST /jobs/dry-run", c.beginJob) // it changes nothing
	mux.HandleFunc("POST /jobs", g.changing(c.beginJob))
	mux.HandleFunc("GET /jobs", c.jobsPage)
	mux.HandleFunc("GET /jobs/{id}", c.jobPage)
	mux.HandleFunc("POST /jobs/{id}/stop", g.changing(c.stopJob))
	mux.HandleFunc("GET /audit", c.auditPage)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		c.refuse(w, r, http.StatusNotFound, "There is no such page", "The address is not one of the console’s.")
	})
	return mux
}

// Handler answers all requests.
func (c *Console) Handler() http.Handler { return c.handler }

// Start follows the topic until Close.
func (c *Console) Start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go func() {
		defer close(c.stopped)
		c.live.run(ctx)
	}()
}

// Close stops the jobs, waits until what they did is written down, and stops
// following. Only after Start.
func (c *Console) Close() {
	c.jobs.close()
	c.stop()
	<-c.stopped
}

func (c *Console) health(w http.ResponseWriter, _ *http.Request) {
	s := c.live.state()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.View == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, "the letters are not read yet")
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// explain says what is wrong for people.
func (c *Console) explain(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "It took too long. Narrow it down, or try again."
	}
	if c.opts.Explain != nil {
		err = c.opts.Explain(err)
	}
	return err.Error()
}

// send renders a page.
func (c *Console) send(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var body bytes.Buffer
	if err := c.look.Render(&body, name, data); err != nil {
		c.opts.Log("the page %s can't be shown: %v", name, err)
		http.Error(w, "This page can't be shown. What the console says in its terminal tells why.", http.StatusInternalServerError)
		return
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body.Bytes())
	}
}

func escapeQuery(text string) string { return url.QueryEscape(text) }

// Listen is the address that the console was made for.
func (c *Console) Listen() string { return c.opts.Listen }
