package console

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/pasted"
)

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
