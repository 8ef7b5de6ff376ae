package console

import (
	"errors"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

const (
	// maxForm is the largest form in bytes but for the editor's.
	maxForm = 1 << 20
	// maxActor is the longest name of a person, in bytes.
	maxActor = 80
	// refusedIDs is how many letters the record of a refusal names.
	refusedIDs = 20
)

// maxEdited is the longest text that the editor takes: the largest record that the worker
// takes, with the white space that is there for people.
func (c *Console) maxEdited() int { return 2 * c.opts.Codec.MaxRecordBytes() }

// MaxBody is the largest body of a request: the editor's form. Browsers send that as it
// is, but each line's end as two bytes.
func (c *Console) MaxBody() int64 { return 2*int64(c.maxEdited()) + maxForm }

// prepare sets the headers of all answers, and bounds the forms.
func (c *Console) prepare(g *gin.Context) {
	web.Secure(g)
	g.Header("Cache-Control", "no-store")
	limit := int64(maxForm)
	if strings.HasPrefix(g.Request.URL.Path, "/edit/") {
		limit = c.MaxBody()
	}
	g.Request.Body = http.MaxBytesReader(g.Writer, g.Request.Body, limit)
}

// readForm reads a form of either encoding, or says why it cannot be read. Of strangers it
// reads nothing: they get no further.
func (c *Console) readForm(g *gin.Context) {
	if auth.CallerOf(g).Scopes == 0 {
		return
	}
	err := g.Request.ParseForm()
	if err == nil {
		err = g.Request.ParseMultipartForm(c.MaxBody())
	}
	if err != nil && !errors.Is(err, http.ErrNotMultipart) {
		c.refuse(g, wrongForm(err))
	}
}

// wrongForm is the refusal of a form that cannot be read.
func wrongForm(err error) error {
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) || errors.Is(err, multipart.ErrMessageTooLarge) {
		return refused(http.StatusRequestEntityTooLarge, "That is too large", "Nothing was done: the console takes no more at once. Edit a letter of this size in a terminal, with orderctl dlq edit and its id.")
	}
	return impossible("The form has a value that is not possible: " + err.Error())
}

// off returns the caller with HTTP_AUTH=off. On this machine everybody may look.
func (c *Console) off(g *gin.Context) *auth.Caller {
	if caller := c.typed.Caller(g); caller != nil {
		return caller
	}
	if config.IsLoopback(c.opts.Listen) && !c.opts.Web.Behind() {
		return c.reader
	}
	return auth.CallerOf(g) // nobody
}

// answer writes a problem, for a browser as a page, and records what somebody was refused.
func (c *Console) answer(g *gin.Context, p *problem.Error) {
	if caller := auth.CallerOf(g); (p.Kind == auth.Forbidden || p.Kind == auth.CrossSite) && caller.Name != "" {
		c.recordRefusal(g, caller)
	}
	page := refused(p.Status(), p.Kind.Title, p.Detail())
	switch needsToken := !c.guard.On() && (p.Kind == auth.Unauthorized || p.Kind == auth.Forbidden); {
	case !strings.Contains(g.GetHeader("Accept"), "text/html"):
		web.Problem(g, p)
		return
	case needsToken && p.Kind == auth.Unauthorized && g.Request.Method == http.MethodGet:
		web.Redirect(g, "/login?to="+url.QueryEscape(g.Request.URL.RequestURI()))
		g.Abort()
		return
	case needsToken:
		page = refused(http.StatusUnauthorized, "Sign in first", "Changing letters, and seeing personal data, needs the console’s token.")
	}
	c.refuse(g, page)
}

// recordRefusal writes to the audit log what a caller was refused.
func (c *Console) recordRefusal(g *gin.Context, caller *auth.Caller) {
	e := audit.Event{Action: path.Base(g.FullPath()), Actor: caller.Name, ActorKind: caller.Kind, From: g.ClientIP(), RequestID: web.RequestID(g)}
	if action := g.PostForm("kind"); kinds[kind(action)].Title != "" {
		e.Action = action
	}
	ids := append(g.PostFormArray("letter"), g.PostFormArray("id")...)
	if len(ids) > refusedIDs { // what was refused must not fill the audit log
		ids, e.Count = ids[:refusedIDs], len(ids)
	}
	for _, id := range ids {
		e.Targets = append(e.Targets, mask.ID(id))
	}
	if err := c.opts.Audit.Write(g.Request.Context(), e); err != nil {
		web.Log(g, c.opts.Log).Error("not audited", zap.Error(err))
	}
}

type loginPage struct {
	frame
	To, Actor string
	Wrong     string
	Typed     bool   // people give the console's token and type their names
	Issuer    string // at which they sign in; empty: at none
}

func (c *Console) newLoginPage(v *visit, to, actor string) loginPage {
	page := loginPage{frame: v.frame, To: auth.SafePath(to), Actor: actor, Typed: !c.guard.On()}
	if issuer, err := url.Parse(c.opts.Auth.Issuer); err == nil && c.guard.SignIn() {
		page.Issuer = issuer.Host
	}
	return page
}

func (c *Console) loginPage(v *visit) error {
	return c.send(v, http.StatusOK, "login.html", c.newLoginPage(v, v.Query("to"), c.opts.Actor))
}

var errNoName = errors.New("say who you are: it is kept with what you do")

func (c *Console) login(v *visit) error {
	name := strings.TrimSpace(auth.Printable(v.PostForm("actor")))
	name = strings.ToValidUTF8(name[:min(len(name), maxActor)], "")
	page := c.newLoginPage(v, v.PostForm("to"), name)
	err := errNoName
	if name != "" {
		err = c.typed.SignIn(v.Context, strings.TrimSpace(v.PostForm("token")), name)
	}
	status := http.StatusForbidden
	switch {
	case err == nil:
		web.Redirect(v.Context, page.To)
		return nil
	case errors.Is(err, auth.ErrAttempts):
		status = http.StatusTooManyRequests
		v.Header("Retry-After", "60")
		web.Log(v.Context, c.opts.Log).Warn("too many wrong tokens", zap.String("client", v.ClientIP()))
	}
	page.Wrong = err.Error()
	return c.send(v, status, "login.html", page)
}

func (c *Console) logout(g *gin.Context) {
	c.typed.SignOut(g)
	web.Redirect(g, "/")
}
