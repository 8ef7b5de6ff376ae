package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/pasted"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// errGone says that a letter is not in the topic.
var errGone = refused(http.StatusNotFound, "This letter is not in the topic", "It was purged, or its id is not complete. An id is topic/partition/offset/digits of the record that failed.")

// handle is how addresses and forms name a letter: by its id, or by its place where the
// id may hold personal data.
func handle(r *dlq.Ref) string {
	if mask.ID(r.ID) == r.ID {
		return r.ID
	}
	return "@" + r.Place.String()
}

func letterAddress(handle string) string { return "/letter?" + url.Values{"id": {handle}}.Encode() }

// find reads the letter with a handle, or with an id that may lack its hex digits.
func (c *Console) find(ctx context.Context, id string) (dlq.Item, error) {
	s := c.live.state()
	ref, there := s.View.Current(id)
	if !there {
		i := slices.IndexFunc(s.List.refs, func(r dlq.Ref) bool { return letter.SameID(id, r.ID) || strings.HasPrefix(id, "@") && handle(&r) == id })
		if i < 0 {
			return dlq.Item{}, errGone
		}
		ref = s.List.refs[i]
	}
	items, err := c.load(ctx, []dlq.Ref{ref})
	if err != nil || len(items) == 0 {
		return dlq.Item{}, cmp.Or(err, errGone)
	}
	return items[0], nil
}

// load reads letters; those that are gone are left out.
func (c *Console) load(ctx context.Context, refs []dlq.Ref) ([]dlq.Item, error) {
	items, err := c.opts.Store.Load(ctx, refs)
	if errors.Is(err, dlq.ErrChanged) {
		err = nil
	}
	return items, err
}

// selection returns the letters that a query asks for, newest first. Looking for personal
// data tells whether it is there, so where people are known it needs their scope, and is
// recorded.
func (c *Console) selection(v *visit, q *query) ([]dlq.Ref, error) {
	id := q.Get("q")
	guess := q.Get("key") != "" || q.Get("text") != "" || id != "" && !mask.IsUID(id) // which may be a key
	if c.guard.On() && guess {
		if !v.frame.Caller.May(personal) {
			return nil, auth.Forbidden.New("Searching by key or text, or for what is not like an order_uid, needs the scope letters:personal.")
		}
		if err := c.audited(v, "search", "", 0); err != nil {
			return nil, err
		}
	}
	l := v.list
	var among map[string]bool
	if f, scan := q.scanned(); scan {
		var err error
		if among, err = c.search(v.ctx(), f, l.version); err != nil {
			return nil, err
		}
	}
	var found []dlq.Ref
	matches := q.matcher()
	for i := range l.refs {
		if r := &l.refs[i]; (among == nil || among[r.ID]) && matches(r) {
			found = append(found, *r)
		}
	}
	return found, nil
}

// maxHistory bounds how many letters of a row of redrives are shown.
const maxHistory = 50

// history returns the letters of the row of redrives that a letter belongs to, the first
// first.
func (c *Console) history(ctx context.Context, l *list, item dlq.Item) ([]dlq.Item, error) {
	alone := []dlq.Item{item}
	row := letter.Filter{Origin: item.Origin}
	var refs []dlq.Ref
	for i := range l.refs {
		if row.Matches(l.refs[i].Head()) && len(refs) < maxHistory {
			refs = append(refs, l.refs[i])
		}
	}
	if len(refs) < 2 {
		return alone, nil
	}
	items, err := c.load(ctx, refs)
	if err != nil || len(items) == 0 {
		return alone, err
	}
	slices.Reverse(items)
	return items, nil
}

const (
	// searchTimeout is how long a search through the whole topic may take.
	searchTimeout = 60 * time.Second
	// searchLife is how long a result is used while new letters arrive.
	searchLife = 10 * time.Second
	// keptSearches bounds the number of results that are kept.
	keptSearches = 8
)

// searched is what a search found, as of the list with a version.
type searched struct {
	version string
	at      time.Time
	ids     map[string]bool
}

// search reads the topic for what lists can't answer, one search at a time. It keeps
// some results, so that turning pages does not read again.
func (c *Console) search(ctx context.Context, f letter.Filter, version string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	c.searching.Lock()
	defer c.searching.Unlock()
	name := fmt.Sprintf("%q %q", f.Text, f.UID)
	if kept, ok := c.searched.Get(name); ok && (kept.version == version || time.Since(kept.at) < searchLife) {
		return kept.ids, nil
	}
	view, err := c.opts.Store.Scan(ctx, f)
	if err != nil {
		return nil, err
	}
	result := searched{version, time.Now(), map[string]bool{}}
	for ref := range view.Each(letter.Any) {
		result.ids[ref.ID] = true
	}
	c.searched.Add(name, result)
	return result.ids, nil
}

type letterPage struct {
	frame
	// Letter is masked unless somebody who is signed in asked to reveal it.
	Letter dlqview.Letter
	Handle string
	// TraceLink is where the record's trace is shown; "" where that is not known.
	TraceLink string
	// HistoryNote says why there is no history.
	HistoryNote string
	// Same are the lists of letters that failed for the same cause.
	Same []link
	// Job is what was just done with the letter.
	Job *jobView
	// NotRedrivable says why the letter can't be sent back, or is empty; CanEdit is set
	// where another target helps.
	NotRedrivable string
	CanEdit       bool
}

type link struct{ Text, Address string }

func (p letterPage) Open() bool { return p.Letter.Status == letter.Open }

func (p letterPage) Foreign() bool { return p.Letter.Format != letter.Orderhub }

const databaseTimeout = 5 * time.Second

func (c *Console) letterPage(v *visit) error {
	var done *jobView
	if j := c.jobs.find(v.Query("job")); j != nil {
		seen := j.view()
		done = &seen
	}
	if c.unchanged(v, v.list.version, done.version()) {
		return nil
	}
	item, err := c.find(v.ctx(), v.Query("id"))
	if err != nil {
		return err
	}
	page := c.show(v, item, false)
	page.Job, page.Live = done, true
	return c.send(v, http.StatusOK, "letter.html", page)
}

// reveal shows a letter unmasked, once that is in the audit log.
func (c *Console) reveal(v *visit) error {
	item, err := c.find(v.ctx(), v.PostForm("id"))
	if err != nil {
		return err
	}
	if err := c.audited(v, "reveal", "", 0, mask.ID(item.ID)); err != nil {
		return err
	}
	return c.send(v, http.StatusOK, "letter.html", c.show(v, item, true))
}

func (c *Console) show(v *visit, item dlq.Item, reveal bool) letterPage {
	page := letterPage{frame: v.frame, Handle: handle(&item.Ref)}
	details := dlqview.Details{Item: item, Offset: dlqview.Offset(&item.Letter, c.opts.Codec)}
	var err error
	if details.History, err = c.history(v.ctx(), v.list, item); err != nil {
		page.HistoryNote = "The other letters of this record can’t be read now: " + c.explain(err)
	}
	bounded, cancel := context.WithTimeout(v.ctx(), databaseTimeout)
	defer cancel()
	if err := details.Compare(bounded, c.opts.Codec, c.opts.Orders); err != nil {
		details.StoredNote = "The stored order can’t be read now: " + err.Error()
	}
	page.Letter = dlqview.Present(details, reveal)
	page.TraceLink = dlqview.TraceLink(c.opts.TraceURL, page.Letter.TraceID)
	page.retitle(clean(page.Letter.ID))
	if err := dlq.Redrivable(&item.Letter, dlq.Target{}, defaultMaxRedrives); err != nil {
		page.NotRedrivable, page.CanEdit = err.Error(), errors.Is(err, dlq.ErrNoSource)
	} else {
		page.CanEdit = true
	}
	for _, failure := range item.Ref.Causes {
		reason, rule, path := dlqview.MaskCause(item.Reason, failure.Rule, failure.Path)
		text := reason
		for _, part := range []string{rule, path} {
			if part != "" && part != reason {
				text += " · " + part
			}
		}
		page.Same = append(page.Same, link{clean(text), causeAddress(letter.Open, reason, rule, path)})
	}
	return page
}

// query is which letters an address asks for.
type query struct {
	values url.Values // the conditions, without those that can't be understood
	status letter.Status
	filter letter.Filter
	// Problems say which conditions are left out, and why.
	Problems []string
}

var conditions = []string{"q", "status", "reason", "stage", "rule", "path", "key", "partition", "offsets", "since", "until", "text"}

var personalConditions = []string{"q", "key", "text"}

const (
	// maxCondition is the longest condition, in bytes.
	maxCondition = 500
	// none is a failure without rule, or without path.
	none = "-"
)

func parseQuery(values url.Values, now time.Time) query {
	q := query{values: url.Values{}, status: letter.Open}
	if values.Get("q") != "" {
		q.status = letter.Any // who looks for an order wants all of its letters
	}
	for _, name := range conditions {
		text := strings.TrimSpace(values.Get(name))
		if name == "q" {
			text = pasted.Choose(text, func(s string) bool { return model.IsOrderUID(s) || letter.IsID(s) })
		}
		if text == "" {
			continue
		}
		if err := q.set(name, text, now); err != nil {
			q.Problems = append(q.Problems, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		q.values.Set(name, text)
	}
	if rule, path := q.Get("rule"), q.Get("path"); rule == none || path == none {
		q.filter.Rules, q.filter.Paths = nil, nil
		q.filter.Failure = &letter.Failure{Rule: strings.TrimPrefix(rule, none), Path: letter.AnyItem(strings.TrimPrefix(path, none))}
	}
	return q
}

func (q *query) set(name, text string, now time.Time) (err error) {
	if len(text) > maxCondition {
		return fmt.Errorf("is longer than %d bytes", maxCondition)
	}
	f := &q.filter
	switch name {
	case "q":
		f.UID = text
	case "status":
		status, err := letter.ParseStatus(text)
		if err != nil {
			return err
		}
		q.status = status
	case "reason":
		f.Reasons = []string{text}
	case "stage":
		f.Stages = []string{text}
	case "rule":
		f.Rules = []string{text}
	case "path":
		f.Paths = []string{text}
	case "key":
		f.Keys = []string{text}
	case "partition":
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return errors.New("a number, such as 0")
		}
		f.Partitions = []int32{int32(n)}
	case "offsets":
		f.MinOffset, f.MaxOffset, err = letter.ParseOffsets(text)
	case "since":
		f.Since, err = letter.ParseWhen(text, now)
	case "until":
		f.Until, err = letter.ParseWhen(text, now)
	case "text":
		f.Text = text
	}
	return err
}

// Get is a condition; empty: none.
func (q query) Get(name string) string { return q.values.Get(name) }

func (q query) Encoded() string { return q.values.Encode() }

// with is the address of the same list except for one condition.
func (q query) with(name, value string) string {
	values, _ := url.ParseQuery(q.Encoded()) // a copy
	values.Set(name, value)
	if value == "" {
		values.Del(name)
	}
	return "/letters?" + values.Encode()
}

// Words are the conditions for people. They go into the audit log and onto the pages of
// jobs, which others see, so they leave out texts that may be personal data.
func (q query) Words() string {
	words := []string{string(q.status) + " letters"}
	if q.status == letter.Any {
		words[0] = "letters"
	}
	for _, name := range conditions {
		switch text := q.Get(name); {
		case text == "" || name == "status":
		case text == none:
			words = append(words, "no "+name)
		case name == "q":
			words = append(words, "of one order")
		case slices.Contains(personalConditions, name):
			words = append(words, "a certain "+name)
		default:
			words = append(words, name+" "+clean(text))
		}
	}
	return strings.Join(words, ", ")
}

// withoutPersonal removes the conditions that may hold personal data from an address.
func withoutPersonal(address string) string {
	at, encoded, _ := strings.Cut(address, "?")
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return at
	}
	for _, name := range personalConditions {
		values.Del(name)
	}
	return at + "?" + values.Encode()
}

var itemNumber = regexp.MustCompile(`\[\d+\]`)

// scanned is the part of the query that only the letters' values answer; ok is false
// where there is none.
func (q *query) scanned() (f letter.Filter, ok bool) {
	return letter.Filter{Text: q.filter.Text, UID: q.filter.UID}, q.filter.Text != "" || q.filter.UID != ""
}

// matcher answers the rest of the query from the list.
func (q *query) matcher() func(*dlq.Ref) bool {
	f := q.filter
	f.Text, f.UID = "", ""
	exact := itemNumber.MatchString(strings.Join(f.Paths, ""))
	return func(r *dlq.Ref) bool {
		return (q.status == letter.Any || r.Status == q.status) && f.MatchesWith(r.Head(), func(l *letter.Letter) []letter.Failure {
			if exact {
				return l.Failures()
			}
			return r.Causes
		})
	}
}
