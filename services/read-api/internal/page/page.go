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
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/pasted"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates
var templateFiles embed.FS

const (
	listCount   = 25 // orders of a page of a list
	besideCount = 15 // orders of the list beside an order
	// The page is shown without what takes longer. A search may take longer than the
	// list beside it.
	orderTimeout = 5 * time.Second
	listTimeout  = 2500 * time.Millisecond
	retryAfter   = "2" // seconds
)

// Orders is the source of the page's orders. Its methods are called concurrently; the
// returned bytes are only read. An error other than [*RefusedError] means that the
// answer cannot be given now.
type Orders interface {
	// Get gives one order. The uid has the form of an order_uid.
	Get(ctx context.Context, uid string) (Found, error)
	// List gives a part of a list, the newest orders first. An invalid filter or cursor
	// is a *RefusedError.
	List(ctx context.Context, query Query) (List, error)
	// Suggest gives completions of a text, exact matches first. Without personal there
	// are no customers among them.
	Suggest(ctx context.Context, text string, personal bool) ([]Suggestion, error)
	// Timeline gives what happened to an order, also a deleted one, the newest first.
	Timeline(ctx context.Context, uid string, masked bool) ([]Event, error)
}

// Event is something that happened to an order.
type Event struct {
	At      time.Time
	What    string
	Changes []Change
}

// Change is a place at which an order changed, with the JSON there.
type Change struct{ Path, Before, After string }

// Found is the answer to a search.
type Found struct {
	// Canonical is the order's canonical JSON, nil if there is no such order.
	Canonical []byte
	// StaleSince is zero while the answer is current, else the time until which it was.
	StaleSince time.Time
}

// Query asks for a part of a list.
type Query struct {
	Filters url.Values // by the names of the API's parameters
	Cursor  string     // the part to show; "": the first
	Limit   int
}

// List is a part of a list.
type List struct {
	Canonical [][]byte // each order's canonical JSON
	// Next is the cursor of the next part, "" at the end. A part with it may be short or
	// empty: then a request may not examine more.
	Next       string
	StaleSince time.Time // as in Found
}

// RefusedError says what is wrong with a list's filters or its cursor.
type RefusedError struct {
	Cursor bool   // it is the cursor
	Detail string // in a sentence
}

func (r *RefusedError) Error() string { return r.Detail }

// Suggestion is a completion of a text.
type Suggestion struct {
	Kind   string // KindOrder, KindTrackNumber or KindCustomer
	Value  string
	Orders int // number of its orders, counted up to a limit
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
	// Access says who may see what. Default: everybody may see everything.
	Access *access.Control
	// ConsoleURL is the http or https address of the dead-letter console, which
	// is linked where an order isn't found. Default: "", no link.
	ConsoleURL string
	// Log gets the reasons why something cannot be shown. Default: none.
	Log *zap.Logger
}

// Page is the web page.
type Page struct {
	Options
	look *web.Look
}

// New prepares the page. An error in its files is a defect of the build and panics.
func New(o Options) *Page {
	look := web.NewLook(assetFiles, "assets", templateFiles, "templates", template.FuncMap{
		"line": inline, "text": prose, "address": templateAddress,
	})
	if o.Access == nil {
		o.Access = access.New(nil, nil, nil)
	}
	o.Log = cmp.Or(o.Log, zap.NewNop())
	return &Page{Options: o, look: look}
}

// Register adds the page at / and what it loads at /assets/.
func (p *Page) Register(r gin.IRouter) {
	web.Get(r.Group("", p.Access.Read(access.CostList)...), "/", web.Secure, p.serve)
	p.look.Register(r)
}

// serve answers a page, or with fragment=1 the inside of its <main>. A page
// has the status of its search. A fragment is always 200: it is a piece of
// HTML to show, and browsers report anything else as an error of the page.
func (p *Page) serve(c *gin.Context) {
	// Orders hold names and addresses: nothing of them is left on a disk.
	c.Header("Cache-Control", "no-store")

	query := c.Request.URL.Query()
	fragment := query.Get("fragment") == "1"
	for name := range query {
		if refusal := p.Access.Refusal(c, name); refusal != nil {
			p.Access.Problem(c, refusal)
			return
		}
	}
	v := p.view(c, query)
	if c.IsAborted() { // it could not be recorded
		return
	}
	if v.State == elsewhere {
		web.Redirect(c, address(v.Target, fragment))
		return
	}
	if !p.Access.Looked(c, access.Show, v.shown()...) {
		return
	}
	status := v.status()
	if fragment {
		status = http.StatusOK
	}
	prefix := web.Prefix(c.Request)
	v.Tag = p.etag(v, query, prefix, true)
	tag := ""
	if status == http.StatusOK {
		tag = p.etag(v, query, prefix, fragment)
		if web.Matches(c.Request.Header["If-None-Match"], tag) { // before any rendering
			c.Header("ETag", tag)
			c.Writer.Header().Add("Vary", "Accept-Encoding")
			c.Status(http.StatusNotModified)
			return
		}
	}
	p.render(c, v, status, tag, fragment)
}

// Answer answers a request with a problem: as a page at an address that people look at.
func (p *Page) Answer(c *gin.Context, err *problem.Error) {
	if path := c.Request.URL.Path; path != "/" && path != "/docs" && !strings.HasPrefix(path, "/sign") {
		web.Problem(c, err)
		return
	}
	c.Abort()
	if err.Status() == http.StatusServiceUnavailable {
		c.Header("Retry-After", retryAfter)
	}
	web.Secure(c)
	c.Header("Cache-Control", "no-store")
	var body bytes.Buffer
	if err := p.look.Render(&body, "failed.html", err); err != nil {
		web.Log(c, p.Log).Error("page cannot be rendered", zap.Error(err))
	}
	c.Data(err.Status(), "text/html; charset=utf-8", web.Rebase(c.Request, body.Bytes()))
}

func (p *Page) render(c *gin.Context, v *view, status int, tag string, fragment bool) {
	name := "page.html"
	if fragment {
		name = "main"
	}
	var body bytes.Buffer
	if err := p.look.Render(&body, name, v); err != nil {
		web.Log(c, p.Log).Error("page cannot be rendered", zap.Error(err))
		c.String(http.StatusInternalServerError, "This page can't be shown. The service's log says why.\n")
		return
	}
	if status == http.StatusServiceUnavailable {
		c.Header("Retry-After", retryAfter)
	}
	web.Send(c, status, "text/html; charset=utf-8", tag, web.Rebase(c.Request, body.Bytes()))
}

// view reads what an address shows.
func (p *Page) view(c *gin.Context, query url.Values) *view {
	v := &view{AsJSON: query.Get("view") == "json", Masked: !p.Access.Personal(c), Caller: p.Access.Caller(c), console: p.ConsoleURL}
	if v.Query = pasted.Choose(query.Get("uid"), model.IsOrderUID); v.Query != "" {
		p.order(c, v)
	} else if text := query.Get("q"); pasted.Clean(text) != "" {
		for _, v.Query = range pasted.Readings(text) {
			if p.search(c, v, query.Get("by")); v.State != missing && v.State != invalid {
				break
			}
			v.Query = pasted.Choose(text, model.IsOrderUID) // what is shown where nothing is found
		}
	} else {
		v.State = home
		v.Filter = readFilter(query, v.Masked)
	}
	switch {
	case v.State == elsewhere:
	case v.State == home && v.Filter.Problem != "":
		v.State = refused
	case v.State == home:
		p.list(c, v, Query{Filters: v.Filter.api, Cursor: v.Filter.Cursor, Limit: listCount})
	default:
		p.list(c, v, Query{Limit: besideCount})
		p.timeline(c, v)
	}
	return v
}

// timeline adds what happened to an order that is shown, or is not there any more. While
// the list cannot be read, neither can this.
func (p *Page) timeline(c *gin.Context, v *view) {
	if v.State != found && v.State != missing || !v.List.Known || !model.IsOrderUID(v.Query) {
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), listTimeout)
	defer cancel()
	var err error
	if v.Events, err = p.Orders.Timeline(ctx, v.Query, v.Masked); err != nil {
		p.notKnown(c, "a timeline", err)
	}
}

func (p *Page) order(c *gin.Context, v *view) {
	if !model.IsOrderUID(v.Query) {
		v.State = invalid
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), orderTimeout)
	defer cancel()
	answer, err := p.Orders.Get(ctx, v.Query)
	if err != nil {
		p.notKnown(c, "an order", err)
		v.State = unavailable
		return
	}
	if answer.Canonical == nil {
		v.State = missing
		return
	}
	if v.Order = p.decode(answer.Canonical, v.Masked); v.Order == nil {
		v.State = unavailable
		return
	}
	v.State, v.StaleSince = found, wholeSecond(answer.StaleSince)
}

// notKnown logs why something cannot be shown, at debug level: that the database is
// away is logged where it is noticed first.
func (p *Page) notKnown(c *gin.Context, what string, err error) {
	web.Log(c, p.Log).Debug("page cannot show something now", zap.String("what", what), zap.Error(err))
}

// decode returns the order that is shown; nil where its JSON is invalid, which is a
// defect.
func (p *Page) decode(canonical []byte, masked bool) *order {
	if masked {
		canonical = model.AppendMasked(nil, canonical)
	}
	o, err := model.ReadCanonical(canonical)
	if err != nil {
		p.Log.Error("page cannot show an order", zap.Error(err))
		return nil
	}
	return &order{Order: *o, Masked: masked, canonical: canonical}
}

func (p *Page) list(c *gin.Context, v *view, query Query) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), listTimeout)
	defer cancel()
	list, err := p.Orders.List(ctx, query)
	if wrong, ok := errors.AsType[*RefusedError](err); ok {
		v.State, v.Filter.Problem, v.Filter.WrongCursor = refused, wrong.Detail, wrong.Cursor
		return
	}
	if err != nil {
		p.notKnown(c, "a list", err)
		return
	}
	v.List = orderList{Current: v.Query, Known: true, StaleSince: wholeSecond(list.StaleSince), Next: list.Next}
	for _, canonical := range list.Canonical {
		if o := p.decode(canonical, v.Masked); o != nil {
			v.List.Orders = append(v.List.Orders, o)
		}
	}
}

// wholeSecond rounds a time that is computed for each answer, so that answers do not
// differ by it alone.
func wholeSecond(t time.Time) time.Time { return t.Round(time.Second) }

// etag covers everything that the rendering depends on, so that a repeated request
// costs no rendering while nothing has changed.
func (p *Page) etag(v *view, query url.Values, prefix string, fragment bool) string {
	sum := sha256.New()
	var head []byte
	add := func(part []byte) {
		head = binary.AppendUvarint(head[:0], uint64(len(part)))
		sum.Write(head)
		sum.Write(part)
	}
	add([]byte(p.look.Build()))
	query.Del("fragment")
	add([]byte(query.Encode()))
	add([]byte(prefix))
	if v.Caller != nil {
		add([]byte(v.Caller.Name + v.Caller.CSRF))
	}
	add(fmt.Appendf(nil, "%t %s %t", fragment, v.State, v.List.Known))
	add(fmt.Appendf(nil, "%d %d", v.StaleSince.Unix(), v.List.StaleSince.Unix()))
	add([]byte(v.List.Next))
	add(fmt.Append(nil, v.Events))
	for _, o := range append(v.List.Orders, v.Order) {
		if o != nil {
			add(o.canonical)
		}
	}
	return `W/"` + hex.EncodeToString(sum.Sum(nil)[:12]) + `"`
}

// templateAddress is address for templates: names and values in turn.
func templateAddress(pairs ...string) string {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return address(values, false)
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
