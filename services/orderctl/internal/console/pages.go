package console

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

// frame is what every page has.
type frame struct {
	Title   string
	Section string // of the navigation
	Topic   string
	Query   string // what was searched for
	Here    string // this page's address
	Session session
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

var templateFuncs = template.FuncMap{
	"clean": clean, "brief": brief, "shorten": dlqview.Shorten, "number": dlqview.Number, "plural": dlqview.Plural, "curve": curve,
	"noun": func(n int, one, many string) string {
		if n == 1 {
			return one
		}
		return many
	},
	"add":     func(a, b int) int { return a + b },
	"stages":  func() []string { return []string{"decode", "validate", "conflict", "write"} },
	"address": letterAddress,
	"would":   func(would string) string { return wouldTexts[would] },
	"percent": func(n, of int) int { return n * 100 / max(of, 1) },
}

// wouldTexts are the verdicts of dry runs for people.
var wouldTexts = map[string]string{
	dryrun.Stored: "would be stored", dryrun.Duplicate: "would be duplicates", dryrun.Pass: "valid, not compared",
	dryrun.Fail: "would fail again", dryrun.Stay: "can’t be redriven", dryrun.Unknown: "can’t be told",
}

func (c *Console) frame(g *gin.Context, section, title string) frame {
	f := frame{Title: title + " · Dead letters · Orderhub", Section: section, Topic: c.opts.Store.Letters(), Here: "/", Session: sessionOf(g)}
	if g.Request.Method == http.MethodGet || g.Request.Method == http.MethodHead {
		f.Here = g.Request.URL.RequestURI()
	}
	return f
}

// current returns the list of letters, or answers with a page that says why there is
// none. The frame gets a notice where the topic can't be read.
func (c *Console) current(g *gin.Context, f *frame) *list {
	s := c.live.state()
	if s.Err != nil {
		f.Notice, f.Since = c.explain(s.Err), s.Since
	}
	if s.List == nil {
		page := struct{ frame }{*f}
		page.Live, page.Reload, page.Nothing = true, true, true
		c.send(g, http.StatusServiceUnavailable, "starting.html", page)
	}
	return s.List
}

// unchanged answers a browser that has the page already. what is everything that the
// page depends on besides its address and who asks.
func (c *Console) unchanged(g *gin.Context, f *frame, what ...string) bool {
	what = append(what, f.Notice, c.look.Build(), web.Prefix(g.Request), g.Request.URL.RequestURI(), f.Session.CSRF)
	f.Tag = `W/"` + c.sessions.sign("tag", strings.Join(what, "\x00"))[:24] + `"`
	g.Header("ETag", f.Tag)
	if g.GetHeader("If-None-Match") != f.Tag {
		return false
	}
	g.Status(http.StatusNotModified)
	return true
}

// refuse answers with a page that says what is wrong, and ends the request's handling.
func (c *Console) refuse(g *gin.Context, status int, title, text string) {
	g.Abort()
	c.send(g, status, "refused.html", struct {
		frame
		Heading, Text string
		SignIn        bool
	}{c.frame(g, "", title), title, text, status == http.StatusUnauthorized})
}

// fail answers where the letters can't be read now.
func (c *Console) fail(g *gin.Context, err error) {
	c.refuse(g, http.StatusServiceUnavailable, "The letters can’t be read now", c.explain(err))
}

// tab is one of several views of a thing.
type tab struct {
	Title, Address string
	Count          int
	Current        bool
}

var statuses = []letter.Status{letter.Open, letter.Resolved, letter.Any}

var statusTitles = map[letter.Status]string{letter.Open: "Open", letter.Resolved: "Resolved", letter.Any: "All"}

// perPage is how many letters a page of a list has.
const perPage = 100

type listPage struct {
	frame
	Filter   query
	Statuses []tab
	Chips    []chip
	Count    int
	Rows     []listRow
	From, To int // numbers of the first and the last row
	Newer    string
	Older    string
	Resolved bool // the list has resolved letters only
}

// chip is a condition that is set, and the address without it.
type chip struct{ Name, Text, Without string }

type listRow struct {
	Handle string
	Line   dlqview.Line
	Kind   letter.ResolutionKind // empty while the letter is open
	Known  bool                  // Line was read
}

// shownErrors is how many failures of a letter a list names.
const shownErrors = 2

// More is how many failures the list does not name.
func (r listRow) More() int { return max(len(r.Line.Errors)-shownErrors, 0) }

func (c *Console) listPage(g *gin.Context) {
	q := parseQuery(g.Request.URL.Query(), c.opts.Now())
	f := c.frame(g, "letters", "Letters")
	f.Query = q.Get("q")
	l := c.current(g, &f)
	if l == nil || c.unchanged(g, &f, l.version, q.filter.Since.Format(time.Kitchen)) {
		return
	}
	if strings.Contains(f.Query, "/") { // an id leads to its letter
		if item, err := c.find(g.Request.Context(), f.Query); err == nil {
			web.Redirect(g, letterAddress(handle(&item.Ref)))
			return
		}
	}
	refs, err := c.selection(g.Request.Context(), l, &q)
	if err != nil {
		c.fail(g, err)
		return
	}
	page := listPage{frame: f, Filter: q, Count: len(refs), Resolved: q.status == letter.Resolved}
	_, scanned := q.scanned()
	page.Live = !scanned
	start := startOf(refs, g.Query("before"))
	end := min(start+perPage, len(refs))
	page.From, page.To = start+1, end
	if start > perPage {
		page.Newer = q.with("before", position(&refs[start-perPage-1]))
	} else if start > 0 {
		page.Newer = q.with("before", "")
	}
	if end < len(refs) {
		page.Older = q.with("before", position(&refs[end-1]))
	}
	lines := c.lines(g.Request.Context(), refs[start:end])
	for i := range refs[start:end] {
		r := &refs[start+i]
		row := listRow{Handle: handle(r), Kind: r.Kind}
		row.Line, row.Known = lines[row.Handle]
		page.Rows = append(page.Rows, row)
	}
	for _, status := range statuses {
		page.Statuses = append(page.Statuses, tab{Title: statusTitles[status], Address: q.with("status", string(status)), Current: status == q.status})
	}
	for _, name := range conditions {
		if text := q.Get(name); text != "" && name != "status" {
			if text == none {
				text = "none"
			}
			page.Chips = append(page.Chips, chip{name, clean(text), q.with(name, "")})
		}
	}
	status := http.StatusOK
	if len(q.Problems) > 0 {
		status = http.StatusBadRequest
	}
	c.send(g, status, "letters.html", page)
}

// position is where a letter stands in a list, for addresses. It stays right when
// letters are added or leave the list.
func position(r *dlq.Ref) string {
	return fmt.Sprintf("%d.%d.%d", r.FailedAt.UnixNano(), r.Partition, r.Offset)
}

// startOf is the index of the first letter after a position; 0 without one.
func startOf(refs []dlq.Ref, after string) int {
	var at int64
	var partition int32
	var offset int64
	if n, _ := fmt.Sscanf(after, "%d.%d.%d", &at, &partition, &offset); n < 3 {
		return 0
	}
	for i := range refs {
		switch r := &refs[i]; {
		case r.FailedAt.UnixNano() != at:
			if r.FailedAt.UnixNano() < at {
				return i
			}
		case r.Partition < partition || r.Partition == partition && r.Offset < offset:
			return i
		}
	}
	return len(refs)
}
