package console

import (
	"cmp"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

var templateFuncs = template.FuncMap{
	"clean": clean, "brief": brief, "shorten": dlqview.Shorten, "number": dlqview.Number, "plural": dlqview.Plural, "curve": curve,
	"noun": func(n int, one, many string) string {
		if n == 1 {
			return one
		}
		return many
	},
	"add":       func(a, b int) int { return a + b },
	"stages":    func() []string { return []string{"decode", "validate", "conflict", "write"} },
	"address":   letterAddress,
	"would":     func(would string) string { return woulds[would].many },
	"verdict":   verdict,
	"functions": edit.Functions,
	"isLetter":  letter.IsID,
	"percent":   func(n, of int) int { return n * 100 / max(of, 1) },
}

// woulds are the verdicts of dry runs for people: of many letters, and of one.
var woulds = map[string]struct{ many, one string }{
	dryrun.Stored:    {"would be stored", "Redriven now, it would be stored"},
	dryrun.Duplicate: {"would be duplicates", "Redriven now, it would be a duplicate: the same order is stored"},
	dryrun.Stale:     {"would be stale", "Redriven now, it would be stale: a newer record is stored"},
	dryrun.Pass:      {"valid, not compared", "It is valid by today’s rules. It was not compared with the stored orders: DATABASE_URL is not set"},
	dryrun.Fail:      {"would fail again", "Redriven now, it would fail again"},
	dryrun.Stay:      {"can’t be redriven", "It can’t be redriven"},
	dryrun.Unknown:   {"can’t be told", "What would become of it can’t be told"},
}

// verdict is what a dry run says about a letter.
func verdict(would, reason string) string {
	text := woulds[would].one
	if reason != "" {
		text += ": " + clean(reason)
	}
	return text + "."
}

// tab is one of several views of a thing.
type tab struct {
	Title, Address string
	Count          int
	Current        bool
}

var statuses = []letter.Status{letter.Open, letter.Resolved, letter.Any}

var statusTitles = map[letter.Status]string{letter.Open: "Open", letter.Resolved: "Resolved", letter.Any: "All"}

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
	Several  bool // the letters are in several topics
}

// chip is a condition that is set, and the address without it.
type chip struct{ Name, Text, Without string }

type listRow struct {
	Handle string
	Line   dlqview.Line
	Kind   letter.ResolutionKind // empty while the letter is open
}

// shownErrors is how many failures of a letter a list names.
const shownErrors = 2

func (r listRow) More() int { return max(len(r.Line.Errors)-shownErrors, 0) }

func (c *Console) listPage(v *visit) error {
	q := parseQuery(v.Request.URL.Query(), time.Now())
	v.frame.Query = q.Get("q")
	if c.unchanged(v, v.list.version, q.filter.Since.Format(time.Kitchen)) {
		return nil
	}
	if strings.Contains(v.frame.Query, "/") { // an id leads to its letter
		if item, err := c.find(v.ctx(), v.frame.Query); err == nil {
			web.Redirect(v.Context, letterAddress(handle(&item.Ref)))
			return nil
		}
	}
	refs, err := c.selection(v, &q)
	if err != nil {
		return err
	}
	page := listPage{frame: v.frame, Filter: q, Count: len(refs), Resolved: q.status == letter.Resolved, Several: len(c.opts.Store.Letters()) > 1}
	_, scanned := q.scanned()
	page.Live = !scanned
	start := startOf(refs, v.Query("before"))
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
	for _, r := range refs[start:end] {
		page.Rows = append(page.Rows, listRow{handle(&r), dlqview.LineOf(r.Head(), r.Status), r.Kind})
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
	return c.send(v, status, "letters.html", page)
}

// position is where a letter stands in a list, for addresses. It stays right when
// letters are added or leave the list.
func position(r *dlq.Ref) string {
	return fmt.Sprintf("%d.%d.%d.%s", r.FailedAt.UnixNano(), r.Place.Partition, r.Place.Offset, r.Place.Topic)
}

// startOf is the index of the first letter after a position; 0 without one.
func startOf(refs []dlq.Ref, after string) int {
	var at int64
	var partition int32
	var offset int64
	var topic string
	if n, _ := fmt.Sscanf(after, "%d.%d.%d.%s", &at, &partition, &offset, &topic); n < 3 {
		return 0
	}
	for i := range refs {
		switch r := &refs[i]; {
		case r.FailedAt.UnixNano() != at:
			if r.FailedAt.UnixNano() < at {
				return i
			}
		case cmp.Or(cmp.Compare(r.Place.Partition, partition), cmp.Compare(r.Place.Offset, offset), cmp.Compare(r.Place.Topic, topic)) < 0:
			return i
		}
	}
	return len(refs)
}

// clean makes text safe to show: characters that would move, hide or reverse the text
// around them become escapes. The templates escape HTML.
func clean(text string) string { return dlqview.Clean(text) }

// longestBrief is the longest name that is shown whole, in bytes.
const longestBrief = 120

// brief is clean for names. Letters that somebody wrote by hand may have very long ones.
func brief(text string) string {
	text = clean(text)
	if short := dlqview.Cut(text, longestBrief); short != text {
		return short + "…"
	}
	return text
}

// Sizes of a curve, in the units of its own picture.
const (
	curveHeight = 28
	curveStep   = 4
	curveGap    = 1
)

// curve draws counts as an SVG of bars.
func curve(counts []int, label string) template.HTML {
	most, all := 1, 0
	for _, n := range counts {
		most = max(most, n)
		all += n
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="curve" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`,
		len(counts)*curveStep, curveHeight, template.HTMLEscapeString(fmt.Sprintf("%s: %s, at most %s in a bar", label, dlqview.Plural(all, "letter"), dlqview.Number(most))))
	fmt.Fprintf(&b, `<path class="ground" d="M0 %gH%d"/>`, curveHeight-.5, len(counts)*curveStep)
	for i, n := range counts {
		if n == 0 {
			continue
		}
		height := max(2, n*curveHeight/most)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d"/>`, i*curveStep, curveHeight-height, curveStep-curveGap, height)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, and a label that is escaped
}

// day is what "since yesterday" means: the same time of yesterday.
const day = 24 * time.Hour

type span struct {
	Name   string // in addresses
	Title  string
	Bars   int
	length time.Duration
}

var (
	spans    = []span{{"1h", "1 hour", 60, time.Hour}, standard, {"14d", "14 days", 56, 14 * day}}
	standard = span{"24h", "24 hours", 48, day}
)

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

// causeView is a cause, masked.
type causeView struct {
	*dlq.Cause
	Address string
	Handle  string // of the newest letter
	Sample  dlqview.Line
	// Match selects the cause's letters; empty where a part of the cause is masked.
	Match string
}

// Message is what the sample says about the cause, or its reason.
func (v causeView) Message() string {
	for _, failure := range v.Sample.Errors {
		if failure.Rule == v.Rule && letter.AnyItem(failure.Path) == v.Path {
			return failure.Message
		}
	}
	return v.Reason
}

// IsNew reports whether the cause was first seen within the last day.
func (v causeView) IsNew() bool { return v.New == v.Total() }

func (c *Console) overviewPage(v *visit) error {
	if q, given := v.GetQuery("q"); given {
		web.Redirect(v.Context, "/letters?"+url.Values{"q": {q}}.Encode())
		return nil
	}
	v.frame.Section = "overview"
	l, now := v.list, time.Now()
	// Curves move with time, so the page changes each minute.
	if c.unchanged(v, l.version, now.Format("200601021504"), c.jobs.version()) {
		return nil
	}
	status, err := letter.ParseStatus(v.Query("status"))
	if err != nil {
		status = letter.Open
	}
	shown := standard
	for _, s := range spans {
		if s.Name == v.Query("span") {
			shown = s
		}
	}
	page := overviewPage{frame: v.frame, Status: status, Span: shown, Open: l.open, Resolved: len(l.refs) - l.open, Jobs: c.jobs.unfinished()}
	page.Live = true
	counts := map[letter.Status]int{letter.Open: page.Open, letter.Resolved: page.Resolved, letter.Any: len(l.refs)}
	for _, s := range statuses {
		page.Statuses = append(page.Statuses, tab{statusTitles[s], overviewAddress(s, shown), counts[s], s == status})
	}
	for _, s := range spans {
		page.Spans = append(page.Spans, tab{s.Title, overviewAddress(status, s), 0, s.Name == shown.Name})
	}
	counted := dlq.StatsOf(dlq.Each(l.refs, status), dlq.StatsOptions{NewSince: now.Add(-day), Bars: shown.Bars, From: now.Add(-shown.length), Until: now.Add(time.Second)})
	page.NewCount, page.Curve = counted.All.New, counted.All.Curve
	causes := counted.Causes[:min(len(counted.Causes), shownCauses)]
	page.More = len(counted.Causes) - len(causes)
	for _, cause := range causes {
		reason, rule, path := dlqview.MaskCause(cause.Reason, cause.Rule, cause.Path)
		exact := reason == cause.Reason && rule == cause.Rule && path == cause.Path
		cause.Reason, cause.Rule, cause.Path = reason, rule, path
		one := causeView{Cause: cause, Address: causeAddress(status, reason, rule, path), Handle: handle(&cause.Newest), Sample: dlqview.LineOf(cause.Newest.Head(), cause.Newest.Status)}
		if exact {
			one.Match = strings.TrimPrefix(one.Address, "/letters?")
		}
		page.Causes = append(page.Causes, one)
	}
	return c.send(v, http.StatusOK, "overview.html", page)
}

func overviewAddress(status letter.Status, s span) string {
	values := url.Values{}
	if status != letter.Open {
		values.Set("status", string(status))
	}
	if s.Name != standard.Name {
		values.Set("span", s.Name)
	}
	return strings.TrimSuffix("/?"+values.Encode(), "?")
}

// causeAddress is the list of a cause's letters. A part of the cause that is masked is
// no condition.
func causeAddress(status letter.Status, reason, rule, path string) string {
	values := url.Values{"reason": {reason}, "rule": {rule}, "path": {path}}
	for name := range values {
		switch text := values.Get(name); {
		case text == "":
			values.Set(name, none)
		case strings.Contains(text, mask.Name):
			values.Del(name)
		}
	}
	if status != letter.Open {
		values.Set("status", string(status))
	}
	return "/letters?" + values.Encode()
}

const (
	auditShown = 200
	// auditIDs is how many letters of a record are named.
	auditIDs = 5
)

type auditRow struct {
	audit.Record
	Named []string
	More  int // letters that are not named
}

func (c *Console) auditPage(v *visit) error {
	page := struct {
		frame
		Records []auditRow
		Wrong   string
	}{frame: v.frame}
	records, err := audit.Read(c.opts.AuditSettings, auditShown)
	if err != nil {
		page.Wrong = err.Error()
	}
	for _, record := range records {
		row := auditRow{Record: record}
		for _, id := range record.Targets[:min(len(record.Targets), auditIDs)] {
			row.Named = append(row.Named, mask.ID(id))
		}
		row.More = max(record.Count, len(record.Targets)) - len(row.Named)
		page.Records = append(page.Records, row)
	}
	return c.send(v, http.StatusOK, "audit.html", page)
}
