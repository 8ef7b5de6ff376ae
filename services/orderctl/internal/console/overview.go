package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

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
