package console

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
)

// frame is what every page has.
type frame struct {
	Title   string
	Section string // which part of the navigation this is
	Topic   string
	Query   string // what was searched
	Here    string // this page's address
	Session session
	// Notice says what keeps the page from being up to date.
	Notice string
	Since  time.Time
	// Nothing says that the letters were never read.
	Nothing bool
	// Live pages ask for themselves again, with the tag of what they show.
	Live bool
	Tag  string
	// Reload has browsers without JavaScript load the page again and again: it is
	// for pages on which nothing is chosen or typed.
	Reload bool
}

var templateFuncs = template.FuncMap{
	"clean": clean, "brief": brief, "number": dlqview.Number, "plural": dlqview.Plural, "curve": curve, "join": strings.Join,
	"noun": func(n int, one, many string) string {
		if n == 1 {
			return one
		}
		return many
	},
	"add":           func(a, b int) int { return a + b },
	"stages":        func() []string { return []string{"decode", "validate", "conflict", "write"} },
	"placeAddress":  letterAddress,
	"letterAddress": func(id string, r dlq.Ref) string { return letterAddress(id, place{r.Partition, r.Offset}) },
	"shorten":       dlqview.Shorten,
	"label":         func(reason string) string { masked, _, _ := dlqview.MaskCause(reason, "", ""); return masked },
	"at":            func(id, at string) string { return "/letter?" + url.Values{"id": {id}, "at": {at}}.Encode() },
	"id":            func(id string) string { return "/letter?" + url.Values{"id": {id}}.Encode() },
	"placeOf":       func(r dlq.Ref) string { return place{r.Partition, r.Offset}.String() },
	"would":         wouldText,
	"percent": func(n, of int) int {
		if of == 0 {
			return 100
		}
		return n * 100 / of
	},
}

// wouldText is a verdict of a dry run for people.
func wouldText(would string) string {
	switch would {
	case dryrun.Stored:
		return "would be stored"
	case dryrun.Duplicate:
		return "would be duplicates"
	case dryrun.Pass:
		return "valid, not compared"
	case dryrun.Fail:
		return "would fail again"
	case dryrun.Stay:
		return "can’t be redriven"
	}
	return "can’t be told"
}

func (c *Console) frame(r *http.Request, section, title string) frame {
	f := frame{
		Title: title + " · Dead letters · Orderhub", Section: section, Topic: c.live.letters, Here: r.URL.RequestURI(),
		Session: sessionOf(r),
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		f.Here = "/"
	}
	return f
}

// current gives what is known of the letters, or answers with a page that says
// why nothing is. The frame gets the notice where the topic is away.
func (c *Console) current(w http.ResponseWriter, r *http.Request, f *frame) *view {
	s := c.live.state()
	if s.Err != nil {
		f.Notice, f.Since = c.explain(s.Err), s.Since
	}
	if s.View != nil {
		return s.View
	}
	page := struct{ frame }{*f}
	page.Live, page.Reload, page.Nothing = true, true, true
	c.send(w, r, http.StatusServiceUnavailable, "starting.html", page)
	return nil
}

// unchanged answers a browser that has the page already. what is all that the
// page depends on besides its address.
func (c *Console) unchanged(w http.ResponseWriter, r *http.Request, f *frame, what ...string) bool {
	s := sessionOf(r)
	state := c.live.state()
	if state.Err != nil {
		what = append(what, state.Err.Error())
	}
	tag := `W/"` + c.sessions.sign("tag", strings.Join(append(what, c.look.Build(), r.URL.RequestURI(), s.CSRF), "\x00"))[:24] + `"`
	f.Tag = tag
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	return false
}

// refuse answers with a page that says what is wrong.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	page := struct {
		frame
		Heading, Text string
		SignIn        bool
	}{c.frame(r, "", title), title, text, status == http.StatusUnauthorized}
	c.send(w, r, status, "refused.html", page)
}

// fail answers where the letters can't be read now.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	c.refuse(w, r, http.StatusServiceUnavailable, "The letters can’t be read now", c.explain(err))
}

// shownCauses is how many causes the overview has.
const shownCauses = 100

type overviewPage struct {
	frame
	Status   letter.Status
	Statuses []tab
	Span     span
	Spans    []tab
	Open     int
	Resolved int
	NewCount int
	Curve    []int
	Causes   []causeView
	More     int
	Jobs     []jobView
}

// tab is one of several views of a thing.
type tab struct {
	Title, Address string
	Count          int
	Current        bool
}

type causeView struct {
	*dlq.Cause
	Address string
	Sample  dlqview.Line
	Known   bool // the sample was read
	// Match selects the cause's letters; empty where a part of it is masked.
	Match string
}

// Message is what the sample says of this cause; its reason where it says nothing.
func (v causeView) Message() string {
	for _, failure := range v.Sample.Errors {
		if failure.Rule == v.Rule && letter.AnyItem(failure.Path) == v.Path {
			return failure.Message
		}
	}
	return v.Reason
}

// Number is how many letters there are with the status that is shown.
func (v causeView) Number() int { return v.Total() }

// IsNew says whether the cause was first seen within the last day.
func (v causeView) IsNew() bool { return v.New == v.Total() }

func (c *Console) overviewPage(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	if values.Has("q") {
		http.Redirect(w, r, "/letters?"+url.Values{"q": values["q"]}.Encode(), http.StatusSeeOther)
		return
	}
	f := c.frame(r, "overview", "Overview")
	v := c.current(w, r, &f)
	if v == nil {
		return
	}
	now := c.opts.Now()
	// The curves move on by themselves, so the page is another one each minute.
	if c.unchanged(w, r, &f, v.version, now.Format("200601021504"), c.jobs.state()) {
		return
	}
	status, err := letter.ParseStatus(values.Get("status"))
	if err != nil {
		status = letter.Open
	}
	s := spanNamed(values.Get("span"))
	page := overviewPage{frame: f, Status: status, Span: s, Open: v.open, Resolved: len(v.refs) - v.open, Curve: make([]int, s.Bars), Jobs: c.jobs.unfinished()}
	page.Live = true
	for _, other := range []letter.Status{letter.Open, letter.Resolved, letter.Any} {
		n := map[letter.Status]int{letter.Open: v.open, letter.Resolved: len(v.refs) - v.open, letter.Any: len(v.refs)}[other]
		page.Statuses = append(page.Statuses, tab{statusTitle(other), overviewAddress(other, s), n, other == status})
	}
	for _, other := range spans {
		page.Spans = append(page.Spans, tab{other.Title, overviewAddress(status, other), 0, other.Name == s.Name})
	}
	o := v.overview(status, s, now)
	for i := range v.refs {
		if ref := &v.refs[i]; status == letter.Any || ref.Status == status {
			age := now.Sub(ref.FailedAt)
			if age < day {
				page.NewCount++
			}
			if age >= 0 && age < s.length {
				page.Curve[s.Bars-1-int(int64(age)*int64(s.Bars)/int64(s.length))]++
			}
		}
	}
	if page.More = max(len(o.Causes)-shownCauses, 0); page.More > 0 {
		o.Causes = o.Causes[:shownCauses]
	}
	newest := make([]dlq.Ref, len(o.Causes))
	for i, cause := range o.Causes {
		newest[i] = cause.Newest
	}
	// Without samples the causes are worth showing all the same.
	samples, err := c.lines(r.Context(), newest)
	if err != nil && page.Notice == "" {
		page.Notice = c.explain(err)
	}
	for _, cause := range o.Causes {
		exact := *cause
		cause.Reason, cause.Rule, cause.Path = dlqview.MaskCause(cause.Reason, cause.Rule, cause.Path)
		one := causeView{Cause: cause, Address: causeAddress(status, cause.Reason, cause.Rule, cause.Path)}
		one.Sample, one.Known = samples[place{cause.Newest.Partition, cause.Newest.Offset}]
		if exact.Reason == cause.Reason && exact.Rule == cause.Rule && exact.Path == cause.Path {
			one.Match = strings.TrimPrefix(one.Address, "/letters?")
		}
		page.Causes = append(page.Causes, one)
	}
	c.send(w, r, http.StatusOK, "overview.html", page)
}

func overviewAddress(status letter.Status, s span) string {
	values := url.Values{}
	if status != letter.Open {
		values.Set("status", string(status))
	}
	if s.Name != standardSpan {
		values.Set("span", s.Name)
	}
	if len(values) == 0 {
		return "/"
	}
	return "/?" + values.Encode()
}

func statusTitle(s letter.Status) string {
	switch s {
	case letter.Open:
		return "Open"
	case letter.Resolved:
		return "Resolved"
	case letter.Any:
	}
	return "All"
}

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
	dlq.Ref
	Line  dlqview.Line
	Known bool
}

// shownErrors is how many failures of a letter a list names.
const shownErrors = 2

// Shown are the failures that the list names, More how many there are besides.
func (r listRow) Shown() []model.FieldError {
	return r.Line.Errors[:min(len(r.Line.Errors), shownErrors)]
}

// More is how many failures are not among those shown.
func (r listRow) More() int { return len(r.Line.Errors) - len(r.Shown()) }

func (c *Console) lettersPage(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	q := parseQuery(values, c.opts.Now())
	f := c.frame(r, "letters", "Letters")
	f.Query = q.Q
	v := c.current(w, r, &f)
	if v == nil || c.unchanged(w, r, &f, v.version, q.since.Format(time.Kitchen)) {
		return
	}
	// A whole id is the letter's own page.
	if strings.Contains(q.Q, "/") {
		if item, err := c.letterAt(r.Context(), v, q.Q, ""); err == nil {
			http.Redirect(w, r, letterAddress(shownID(&item), place{item.Ref.Partition, item.Ref.Offset}), http.StatusSeeOther)
			return
		}
	}
	refs, err := c.selection(r.Context(), v, &q)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	page := listPage{frame: f, Filter: q, Count: len(refs), Resolved: q.status == letter.Resolved}
	_, scanned := q.scanned()
	page.Live = !scanned
	start := 0
	if before, ok := parsePosition(values.Get("before")); ok {
		start, _ = slices.BinarySearchFunc(refs, before, func(r dlq.Ref, p position) int { return positionOf(&r).compare(p) })
		if start < len(refs) && positionOf(&refs[start]) == before {
			start++
		}
	}
	end := min(start+perPage, len(refs))
	page.From, page.To = start+1, end
	page.Newer, page.Older = pagers(q, refs, start, end)
	if err := c.fill(r, &page, refs[start:end]); err != nil {
		c.fail(w, r, err)
		return
	}
	for _, status := range []letter.Status{letter.Open, letter.Resolved, letter.Any} {
		page.Statuses = append(page.Statuses, tab{Title: statusTitle(status), Address: q.with("status", string(status)), Current: status == q.status})
	}
	for _, field := range q.fields() {
		if field.Name == "status" || *field.Value == "" {
			continue
		}
		text := clean(*field.Value)
		if *field.Value == none {
			text = "none"
		}
		page.Chips = append(page.Chips, chip{field.Name, text, q.with(field.Name, "")})
	}
	status := http.StatusOK
	if len(q.Problems) > 0 {
		status = http.StatusBadRequest
	}
	c.send(w, r, status, "letters.html", page)
}

// pagers are the addresses of the pages beside the rows from start to end.
func pagers(q query, refs []dlq.Ref, start, end int) (newer, older string) {
	if start > 0 {
		newer = q.with("", "")
		if start > perPage {
			newer = q.with("before", positionOf(&refs[start-perPage-1]).String())
		}
	}
	if end < len(refs) {
		older = q.with("before", positionOf(&refs[end-1]).String())
	}
	return newer, older
}

func (c *Console) fill(r *http.Request, page *listPage, refs []dlq.Ref) error {
	known, err := c.lines(r.Context(), refs)
	if err != nil {
		return err
	}
	for i := range refs {
		one := listRow{Ref: refs[i]}
		one.Line, one.Known = known[place{refs[i].Partition, refs[i].Offset}]
		page.Rows = append(page.Rows, one)
	}
	return nil
}
