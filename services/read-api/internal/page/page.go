package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	newestCount = 20
	// The page shows what it has rather than wait for the rest: a search waits
	// longer than the list beside it.
	orderTimeout  = 5 * time.Second
	newestTimeout = 2 * time.Second
	retryAfter    = "2" // seconds
)

// Orders is where the page's orders come from. Both methods are called from
// many goroutines at once; the bytes that they return are only read.
type Orders interface {
	// Get gives one order. The uid has the form of an order_uid. An error means
	// that it can't be known now whether there is such an order.
	Get(ctx context.Context, uid string) (Found, error)
	// Newest gives up to n orders, the newest first. An error means that they
	// can't be known now.
	Newest(ctx context.Context, n int) (List, error)
}

// Found is the answer to a search.
type Found struct {
	// Canonical is the order's canonical JSON, nil if there is no such order.
	Canonical []byte
	// StaleSince is zero while the answer is known to be current, else the time
	// up to which it was.
	StaleSince time.Time
}

// List is a list of orders.
type List struct {
	Canonical  [][]byte  // each order's canonical JSON
	StaleSince time.Time // as in Found
}

// Options are what the page needs.
type Options struct {
	Orders Orders
	// ConsoleURL is the http or https address of the dead-letter console, which
	// is linked where an order isn't found. Default: "", no link.
	ConsoleURL string
}

// Register adds the page at / and what it loads at /assets/.
func Register(r gin.IRouter, o Options) {
	files := loadAssets()
	s := &site{orders: o.Orders, console: o.ConsoleURL, files: files, templates: parseTemplates(files)}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r.Handle(method, "/", s.serve)
		r.Handle(method, "/assets/:name", files.serve)
	}
}

type site struct {
	orders    Orders
	console   string
	files     *assets
	templates *template.Template
}

// serve answers a page, or with fragment=1 the inside of its <main>. A page
// has the status of its search. A fragment is always 200: it is a piece of
// HTML to show, and browsers report anything else as an error of the page.
func (s *site) serve(c *gin.Context) {
	secure(c)
	// Orders hold names and addresses: nothing of them is left on a disk.
	c.Header("Cache-Control", "no-store")

	v := s.view(c)
	fragment := c.Query("fragment") == "1"
	status := v.status()
	if fragment {
		status = http.StatusOK
	}
	if status == http.StatusOK {
		tag := s.etag(v, fragment)
		c.Header("ETag", tag)
		if c.GetHeader("If-None-Match") == tag {
			c.Status(http.StatusNotModified)
			return
		}
	}

	name := "page.html"
	if fragment {
		name = "main"
	}
	var body bytes.Buffer
	if err := s.templates.ExecuteTemplate(&body, name, v); err != nil {
		_ = c.Error(fmt.Errorf("render the page: %w", err))
		c.String(http.StatusInternalServerError, "This page can't be shown. The service's log says why.\n")
		return
	}
	if status == http.StatusServiceUnavailable {
		c.Header("Retry-After", retryAfter)
	}
	c.Data(status, "text/html; charset=utf-8", body.Bytes())
}

func (s *site) view(c *gin.Context) view {
	v := view{
		Query:   strings.TrimSpace(strings.ToValidUTF8(c.Query("uid"), "\uFFFD")),
		AsJSON:  c.Query("view") == "json",
		console: s.console,
	}
	switch {
	case v.Query == "":
		v.State = home
	case !isUID(v.Query):
		v.State = invalid
	default:
		s.search(c, &v)
	}
	s.list(c, &v)
	return v
}

func (s *site) search(c *gin.Context, v *view) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), orderTimeout)
	defer cancel()
	answer, err := s.orders.Get(ctx, v.Query)
	if err == nil && answer.Canonical != nil {
		v.Order, err = decode(answer.Canonical)
	}
	switch {
	case err != nil:
		_ = c.Error(fmt.Errorf("page: order %s: %w", v.Query, err))
		v.State = unavailable
	case answer.Canonical == nil:
		v.State = missing
	default:
		v.State, v.canonical, v.StaleSince = found, answer.Canonical, wholeSecond(answer.StaleSince)
	}
}

func (s *site) list(c *gin.Context, v *view) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), newestTimeout)
	defer cancel()
	list, err := s.orders.Newest(ctx, newestCount)
	if err != nil {
		_ = c.Error(fmt.Errorf("page: newest orders: %w", err))
		return
	}
	v.Newest = newest{Current: v.Query, Known: true, StaleSince: wholeSecond(list.StaleSince), canonical: list.Canonical}
	for _, canonical := range list.Canonical {
		o, err := decode(canonical)
		if err != nil {
			_ = c.Error(fmt.Errorf("page: newest orders: %w", err))
			continue
		}
		v.Newest.Orders = append(v.Newest.Orders, o)
	}
}

// wholeSecond keeps a time that was computed anew for each answer, and so is a
// little different each time, from making each answer a different one.
func wholeSecond(t time.Time) time.Time { return t.Round(time.Second) }

// etag covers everything that the rendering depends on, so that a browser's
// poll costs no rendering while nothing has changed.
func (s *site) etag(v view, fragment bool) string {
	sum := sha256.New()
	var head []byte
	add := func(part []byte) {
		head = binary.AppendUvarint(head[:0], uint64(len(part)))
		sum.Write(head)
		sum.Write(part)
	}
	add([]byte(s.files.build))
	add([]byte(v.Query))
	add(fmt.Appendf(nil, "%s %t %t %t", v.State, v.AsJSON, fragment, v.Newest.Known))
	add(fmt.Appendf(nil, "%d %d", v.StaleSince.Unix(), v.Newest.StaleSince.Unix()))
	add(v.canonical)
	for _, canonical := range v.Newest.canonical {
		add(canonical)
	}
	return `W/"` + hex.EncodeToString(sum.Sum(nil)[:12]) + `"`
}

// secure sets the headers that keep whatever an order holds from becoming
// more than text, and the page out of other sites' frames.
func secure(c *gin.Context) {
	c.Header("Content-Security-Policy", "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("X-Frame-Options", "DENY")
	c.Header("Referrer-Policy", "no-referrer")
	c.Header("Cross-Origin-Opener-Policy", "same-origin")
	c.Header("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}
