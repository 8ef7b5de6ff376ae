package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
)

type visit struct {
	*gin.Context
	frame frame
	list  *list // of pages that need it
}

// ctx ends when nobody waits for the answer any more.
func (v *visit) ctx() context.Context { return v.Request.Context() }

type frame struct {
	Title   string
	Section string // of the navigation
	Topic   string
	Query   string // what was searched for
	Here    string // this page's address
	Caller  *auth.Caller
	// Notice says why the page is not up to date; Since, since when.
	Notice string
	Since  time.Time
	// Nothing says that the letters were never read.
	Nothing bool
	// Live pages ask for themselves again, with the tag of what they show.
	Live bool
	Tag  string
	// Reload makes browsers without JavaScript load the page again and again. It is for
	// pages on which nothing is chosen or typed.
	Reload bool
}

// SignedIn reports whether it is known who asks, or who they say they are.
func (f frame) SignedIn() bool { return f.Caller.Name != "" }

// May reports whether whoever asks has all of the scopes with these names.
func (f frame) May(names ...string) bool {
	scopes, _ := auth.ParseScopes(names)
	return f.Caller.May(scopes)
}

func (f *frame) retitle(title string) { f.Title = title + " · Dead letters · Orderhub" }

// refusal is the error of a request that is answered with a page that says what is wrong.
type refusal struct {
	status      int
	title, text string
}

func (r *refusal) Error() string { return r.title + ": " + r.text }

func refused(status int, title, text string) error { return &refusal{status, title, text} }

func impossible(text string) error {
	return refused(http.StatusBadRequest, "That can’t be done", text)
}

func (c *Console) visit(g *gin.Context, section, title string) *visit {
	v := &visit{Context: g, frame: frame{Section: section, Topic: strings.Join(c.opts.Store.Letters(), ", "), Here: "/", Caller: auth.CallerOf(g)}}
	v.frame.retitle(title)
	if g.Request.Method == http.MethodGet || g.Request.Method == http.MethodHead {
		v.frame.Here = g.Request.URL.RequestURI()
	}
	return v
}

// page makes a handler of one that answers with a page, or returns why it can't.
func (c *Console) page(section, title string, answer func(*visit) error) gin.HandlerFunc {
	return func(g *gin.Context) {
		if err := answer(c.visit(g, section, title)); err != nil {
			c.refuse(g, err)
		}
	}
}

// letterPages is page for handlers that need the list of letters. Until there is one, a
// page says so. The frame gets a notice where the topic can't be read.
func (c *Console) letterPages(title string, answer func(*visit) error) gin.HandlerFunc {
	return c.page("letters", title, func(v *visit) error {
		s := c.live.state()
		if s.Err != nil {
			v.frame.Notice, v.frame.Since = c.explain(s.Err), s.Since
		}
		if v.list = s.List; v.list != nil {
			return answer(v)
		}
		v.frame.Live, v.frame.Reload, v.frame.Nothing = true, true, true
		return c.send(v, http.StatusServiceUnavailable, "starting.html", v.frame)
	})
}

// refuse ends a request's handling with a page that says what is wrong. An error that is
// no refusal means that the letters can't be read now.
func (c *Console) refuse(g *gin.Context, err error) {
	g.Abort()
	if p, is := errors.AsType[*problem.Error](err); is {
		c.answer(g, p)
		return
	}
	no, is := errors.AsType[*refusal](err)
	if !is {
		no = &refusal{http.StatusServiceUnavailable, "The letters can’t be read now", c.explain(err)}
	}
	v := c.visit(g, "", no.title)
	_ = c.send(v, no.status, "refused.html", struct {
		frame
		Heading, Text string
		SignIn        bool
	}{v.frame, no.title, no.text, no.status == http.StatusUnauthorized})
}

// send renders a page. What goes wrong with that is logged; the error is nil.
func (c *Console) send(v *visit, status int, name string, data any) error {
	var body bytes.Buffer
	if err := c.look.Render(&body, name, data); err != nil {
		web.Log(v.Context, c.opts.Log).Error("cannot render", zap.String("page", name), zap.Error(err))
		v.String(http.StatusInternalServerError, "This page can't be shown. The console's log says why.")
		return nil
	}
	if status == http.StatusServiceUnavailable {
		v.Header("Retry-After", "2")
	}
	v.Data(status, "text/html; charset=utf-8", web.Rebase(v.Request, body.Bytes()))
	return nil
}

// unchanged answers a browser that has the page already. what is everything that the
// page depends on besides its address and who asks.
func (c *Console) unchanged(v *visit, what ...string) bool {
	f := &v.frame
	what = append(what, f.Notice, c.look.Build(), web.Prefix(v.Request), v.Request.URL.RequestURI(), f.Caller.Name, f.Caller.Scopes.String(), f.Caller.CSRF)
	f.Tag = fmt.Sprintf(`W/"%x"`, sha256.Sum256([]byte(strings.Join(what, "\x00"))))
	v.Header("ETag", f.Tag)
	if v.GetHeader("If-None-Match") != f.Tag {
		return false
	}
	v.Status(http.StatusNotModified)
	return true
}

// audited writes what somebody is about to see or to do to the audit log. After an error
// nothing of it may happen. count is how many letters it is about if ids names none.
func (c *Console) audited(v *visit, action, why string, count int, ids ...string) error {
	err := c.opts.Audit.Write(v.ctx(), audit.Event{
		Action: action, Targets: ids, Count: count, Why: why, Allowed: true, Actor: v.frame.Caller.Name, ActorKind: v.frame.Caller.Kind, From: v.ClientIP(),
		RequestID: web.RequestID(v.Context),
	})
	if err != nil {
		web.Log(v.Context, c.opts.Log).Error("not audited", zap.Error(err))
		return refused(http.StatusServiceUnavailable, "The audit log can’t be written", "So nothing is shown and nothing was done. The console's log says why.")
	}
	return nil
}
