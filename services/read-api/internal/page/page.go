package page

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/web"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates
var templateFiles embed.FS

const (
	listCount   = 25 // orders of a page of a list
	besideCount = 15 // orders of the list beside an order
	// The page shows what it has rather than wait for the rest: a search waits
	// longer than the list beside it.
	orderTimeout = 5 * time.Second
	listTimeout  = 2500 * time.Millisecond
	retryAfter   = "2" // seconds
)

// Orders is where the page's orders come from. Its methods are called from many
// goroutines at once; the bytes that they return are only read. An error means
// that the answer can't be known now, but for [*RefusedError].
type Orders interface {
	// Get gives one order. The uid has the form of an order_uid.
	Get(ctx context.Context, uid string) (Found, error)
	// List gives a part of a list, the newest orders first. A filter or cursor
	// that can't be is a *RefusedError.
	List(ctx context.Context, query Query) (List, error)
	// Suggest gives what a text is, or is the beginning of: first what it is as it
	// stands.
	Suggest(ctx context.Context, text string) ([]Suggestion, error)
}

// Found is the answer to a search.
type Found struct {
	// Canonical is the order's canonical JSON, nil if there is no such order.
	Canonical []byte
	// StaleSince is zero while the answer is known to be current, else the time
	// up to which it was.
	StaleSince time.Time
}

// Query asks for a part of a list.
type Query struct {
	Filters url.Values // by the names of the API's parameters
	Cursor  string     // where it goes on; "": from its beginning
	Limit   int
}

// List is a part of a list.
type List struct {
	Canonical [][]byte // each order's canonical JSON
	// Next is the cursor to go on with, "" at the end. A part with it may be short,
	// or empty: then it was looked at as much as a request may cost.
	Next       string
	StaleSince time.Time // as in Found
}

// RefusedError says what is wrong with a list's filters or its cursor.
type RefusedError struct {
	Cursor bool   // it is the cursor
	Detail string // in a sentence
}

func (r *RefusedError) Error() string { return r.Detail }

// Suggestion is what a text may be.
type Suggestion struct {
	Kind   string // KindOrder, KindTrackNumber or KindCustomer
	Value  string
	Orders int // that it stands for; of many, so many at least
}

// The kinds of suggestions, as the API names them.
const (
	KindOrder       = "order"
	KindTrackNumber = "track_number"
	KindCustomer    = "customer"
)

// Options are what the page needs.
type Options struct {
	Orders Orders
	// ConsoleURL is the http or https address of the dead-letter console, which
	// is linked where an order isn't found. Default: "", no link.
	ConsoleURL string
	// Log is told why something can't be shown. Default: nobody is told.
	Log *zap.Logger
}

// Register adds the page at / and what it loads at /assets/.
func Register(r gin.IRouter, o Options) {
	look := web.NewLook(assetFiles, "assets", templateFiles, "templates", nil)
	s := &site{orders: o.Orders, console: o.ConsoleURL, look: look, log: cmp.Or(o.Log, zap.NewNop())}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r.Handle(method, "/", s.serve)
		r.Handle(method, "/assets/:name", gin.WrapH(look))
	}
}

type site struct {
	orders  Orders
	console string
	look    *web.Look
	log     *zap.Logger
}

// serve answers a page, or with fragment=1 the inside of its <main>. A page
// has the status of its search. A fragment is always 200: it is a piece of
// HTML to show, and browsers report anything else as an error of the page.
func (s *site) serve(c *gin.Context) {
	web.SecureHeaders(c.Writer.Header())
	// Orders hold names and addresses: nothing of them is left on a disk.
	c.Header("Cache-Control", "no-store")

	query := c.Request.URL.Query()
	fragment := query.Get("fragment") == "1"
	v := s.view(c, query)
	if v.State == elsewhere {
		c.Redirect(http.StatusSeeOther, address(v.Target, fragment))
		return
	}
	status := v.status()
	if fragment {
		status = http.StatusOK
	}
	v.Tag = s.etag(v, query, true)
	if status == http.StatusOK {
		tag := s.etag(v, query, fragment)
		c.Header("ETag", tag)
		if c.GetHeader("If-None-Match") == tag {
			c.Status(http.StatusNotModified)
			return
		}
	}
	s.render(c, v, status, fragment)
}

func (s *site) render(c *gin.Context, v *view, status int, fragment bool) {
	name := "page.html"
	if fragment {
		name = "main"
	}
	var body bytes.Buffer
	if err := s.look.Render(&body, name, v); err != nil {
		s.log.Error("the page can't be rendered", zap.Error(err))
		c.Header("ETag", "")
		c.String(http.StatusInternalServerError, "This page can't be shown. The service's log says why.\n")
		return
	}
	if status == http.StatusServiceUnavailable {
		c.Header("Retry-After", retryAfter)
	}
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
}

// view finds what an address shows.
func (s *site) view(c *gin.Context, query url.Values) *view {
	v := &view{AsJSON: query.Get("view") == "json", console: s.console}
	if v.Query = clean(query.Get("uid")); v.Query != "" {
		s.order(c, v)
	} else if v.Query = clean(query.Get("q")); v.Query != "" {
		s.search(c, v, query.Get("by"))
	} else {
		v.State = home
		v.Filter = readFilter(query)
	}
	switch {
	case v.State == elsewhere:
	case v.State == home && v.Filter.Problem != "":
		v.State = refused
	case v.State == home:
		s.list(c, v, Query{Filters: v.Filter.api, Cursor: v.Filter.Cursor, Limit: listCount})
	default:
		s.list(c, v, Query{Limit: besideCount})
	}
	return v
}

// clean is a parameter as a person meant it.
func clean(text string) string { return strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD")) }

func (s *site) order(c *gin.Context, v *view) {
	if !model.IsOrderUID(v.Query) {
		v.State = invalid
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), orderTimeout)
	defer cancel()
	answer, err := s.orders.Get(ctx, v.Query)
	if err != nil {
		s.notKnown("an order", err)
		v.State = unavailable
		return
	}
	if answer.Canonical == nil {
		v.State = missing
		return
	}
	if v.Order = s.decode(answer.Canonical); v.Order == nil {
		v.State = unavailable
		return
	}
	v.State, v.canonical, v.StaleSince = found, answer.Canonical, wholeSecond(answer.StaleSince)
}

// notKnown logs why something can't be shown. That is of interest only while
// looking for something: that the database is away is said where it begins.
func (s *site) notKnown(what string, err error) {
	s.log.Debug("the page can't show "+what+" now", zap.Error(err))
}

// decode gives the order that is shown; nil where its JSON isn't what it should
// be, which is a fault.
func (s *site) decode(canonical []byte) *order {
	o, err := decode(canonical)
	if err != nil {
		s.log.Error("the page can't show an order", zap.Error(err))
		return nil
	}
	return o
}

func (s *site) list(c *gin.Context, v *view, query Query) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), listTimeout)
	defer cancel()
	list, err := s.orders.List(ctx, query)
	if wrong, ok := errors.AsType[*RefusedError](err); ok {
		v.State, v.Filter.Problem, v.Filter.WrongCursor = refused, wrong.Detail, wrong.Cursor
		return
	}
	if err != nil {
		s.notKnown("a list", err)
		return
	}
	v.List = orderList{Current: v.Query, Known: true, StaleSince: wholeSecond(list.StaleSince), Next: list.Next, canonical: list.Canonical}
	for _, canonical := range list.Canonical {
		if o := s.decode(canonical); o != nil {
			v.List.Orders = append(v.List.Orders, o)
		}
	}
}

// wholeSecond keeps a time that was computed anew for each answer, and so is a
// little different each time, from making each answer a different one.
func wholeSecond(t time.Time) time.Time { return t.Round(time.Second) }

// etag covers everything that the rendering depends on, so that asking again
// costs no rendering while nothing has changed.
func (s *site) etag(v *view, query url.Values, fragment bool) string {
	sum := sha256.New()
	var head []byte
	add := func(part []byte) {
		head = binary.AppendUvarint(head[:0], uint64(len(part)))
		sum.Write(head)
		sum.Write(part)
	}
	add([]byte(s.look.Build()))
	query.Del("fragment")
	add([]byte(query.Encode()))
	add(fmt.Appendf(nil, "%t %s %t", fragment, v.State, v.List.Known))
	add(fmt.Appendf(nil, "%d %d", v.StaleSince.Unix(), v.List.StaleSince.Unix()))
	add([]byte(v.List.Next))
	add(v.canonical)
	for _, canonical := range v.List.canonical {
		add(canonical)
	}
	return `W/"` + hex.EncodeToString(sum.Sum(nil)[:12]) + `"`
}

// address is one of this page's.
func address(query url.Values, fragment bool) string {
	if fragment {
		query.Set("fragment", "1")
	}
	if len(query) == 0 {
		return "/"
	}
	return "/?" + query.Encode()
}
