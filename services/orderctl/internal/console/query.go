package console

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// query says which letters an address asks for.
type query struct {
	// The fields as the address has them, empty where it hasn't.
	Q, Status, Reason, Stage, Rule, Path, Key, Partition, Offsets, Since, Until, Text string

	status    letter.Status
	partition *int32
	low, high *int64
	since     time.Time
	until     time.Time
	// Problems say what can't be understood; such a field is left out.
	Problems []string
}

// fields are the names in the address, in its order.
func (q *query) fields() []struct {
	Name  string
	Value *string
} {
	return []struct {
		Name  string
		Value *string
	}{
		{"q", &q.Q}, {"status", &q.Status}, {"reason", &q.Reason}, {"stage", &q.Stage}, {"rule", &q.Rule}, {"path", &q.Path},
		{"key", &q.Key}, {"partition", &q.Partition}, {"offsets", &q.Offsets}, {"since", &q.Since}, {"until", &q.Until}, {"text", &q.Text},
	}
}

// maxField is the longest condition, in bytes.
const maxField = 500

func parseQuery(values url.Values, now time.Time) query {
	var q query
	for _, f := range q.fields() {
		*f.Value = strings.TrimSpace(values.Get(f.Name))
		if len(*f.Value) > maxField {
			q.Problems = append(q.Problems, fmt.Sprintf("%s is longer than %d bytes", f.Name, maxField))
			*f.Value = ""
		}
	}
	problem := func(field *string, format string, args ...any) {
		q.Problems = append(q.Problems, fmt.Sprintf(format, args...))
		*field = ""
	}
	var err error
	if q.status, err = letter.ParseStatus(q.Status); err != nil {
		if q.Status != "" {
			problem(&q.Status, "status: %v", err)
		}
		q.status = letter.Open
		if q.Q != "" {
			q.status = letter.Any // who looks for an order wants to know all of it
		}
	}
	if q.Partition != "" {
		n, err := strconv.ParseInt(q.Partition, 10, 32)
		if err != nil || n < 0 {
			problem(&q.Partition, "partition: a number, such as 0")
		} else {
			number := int32(n)
			q.partition = &number
		}
	}
	if q.low, q.high, err = letter.ParseOffsets(q.Offsets); err != nil {
		problem(&q.Offsets, "offsets: %v", err)
	}
	if q.since, err = letter.ParseWhen(q.Since, now); err != nil {
		problem(&q.Since, "since: %v", err)
	}
	if q.until, err = letter.ParseWhen(q.Until, now); err != nil {
		problem(&q.Until, "until: %v", err)
	}
	return q
}

// values are the query as an address has it.
func (q query) values() url.Values {
	values := url.Values{}
	for _, f := range q.fields() {
		if *f.Value != "" {
			values.Set(f.Name, *f.Value)
		}
	}
	return values
}

// Encoded is the query as an address has it, without the question mark.
func (q query) Encoded() string { return q.values().Encode() }

// with is the address of the same list but for one field.
func (q query) with(name, value string) string {
	values := q.values()
	values.Set(name, value)
	if value == "" {
		values.Del(name)
	}
	return "/letters?" + values.Encode()
}

// Narrowed says whether any condition besides the status limits the letters.
func (q query) Narrowed() bool {
	q.Status = ""
	return len(q.values()) > 0
}

// Words are the conditions for people. They go into the audit log and onto the pages
// of jobs, which others see, so they have no text that may be personal data.
func (q query) Words() string {
	words := []string{string(q.status) + " letters"}
	if q.status == letter.Any {
		words[0] = "letters"
	}
	for _, f := range q.fields()[2:] {
		switch text := *f.Value; {
		case text == none:
			words = append(words, "no "+f.Name)
		case text != "" && (f.Name == "key" || f.Name == "text"):
			words = append(words, "a certain "+f.Name)
		case text != "":
			words = append(words, f.Name+" "+clean(text))
		}
	}
	if q.Q != "" {
		words = append(words, "of one order")
	}
	return strings.Join(words, ", ")
}

var itemNumber = regexp.MustCompile(`\[\d+\]`)

// scanned is the part of the query that only the letters' records can answer;
// ok is false where there is none.
func (q *query) scanned() (f letter.Filter, ok bool) {
	f = letter.Filter{Text: q.Text, UID: q.Q}
	if q.Key != "" {
		f.Keys = []string{q.Key}
	}
	if itemNumber.MatchString(q.Path) {
		f.Paths = []string{q.Path}
		if q.Rule != "" && q.Rule != none {
			f.Rules = []string{q.Rule}
		}
	}
	return f, f.Text != "" || f.UID != "" || len(f.Keys) > 0 || len(f.Paths) > 0
}

// matches answers the rest from the index.
func (q *query) matches(r *dlq.Ref, ofGroup map[*dlq.Group]bool) bool {
	switch {
	case q.status != letter.Any && r.Status != q.status,
		!q.since.IsZero() && r.FailedAt.Before(q.since),
		!q.until.IsZero() && !r.FailedAt.Before(q.until),
		q.low != nil && (r.Group.SourceTopic == "" || r.SourceOffset < *q.low),
		q.high != nil && (r.Group.SourceTopic == "" || r.SourceOffset > *q.high):
		return false
	}
	matches, known := ofGroup[r.Group]
	if !known {
		matches = q.matchesGroup(r.Group)
		ofGroup[r.Group] = matches
	}
	return matches
}

func (q *query) matchesGroup(g *dlq.Group) bool {
	if q.Reason != "" && g.Reason != q.Reason || q.Stage != "" && g.Stage != q.Stage ||
		q.partition != nil && (g.SourceTopic == "" || g.SourcePartition != *q.partition) {
		return false
	}
	is := func(wanted, has string) bool {
		return wanted == "" || wanted == has || wanted == none && has == ""
	}
	path := letter.AnyItem(q.Path)
	return slices.ContainsFunc(failuresOf(g), func(f letter.Failure) bool { return is(q.Rule, f.Rule) && is(path, f.Path) })
}

// selection gives the letters that a query asks for, newest first.
func (c *Console) selection(ctx context.Context, v *view, q *query) ([]dlq.Ref, error) {
	ofGroup := map[*dlq.Group]bool{}
	var found []dlq.Ref
	if f, ok := q.scanned(); ok {
		positions, err := c.searches.find(ctx, c.store, f, v.version)
		if err != nil {
			return nil, err
		}
		for _, p := range positions {
			if r, ok := v.find(p); ok && q.matches(&r, ofGroup) {
				found = append(found, r)
			}
		}
		return found, nil
	}
	for i := range v.refs {
		if q.matches(&v.refs[i], ofGroup) {
			found = append(found, v.refs[i])
		}
	}
	return found, nil
}
