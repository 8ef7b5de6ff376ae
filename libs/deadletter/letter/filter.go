package letter

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter"
)

// Status says whether a letter still needs attention.
type Status string

// The statuses. Any is for selecting.
const (
	Open     Status = "open"
	Resolved Status = "resolved"
	Any      Status = "any"
)

// Failure is the rule that a letter broke and the path at which it did.
type Failure struct {
	Rule string
	Path string
}

// Filter selects the letters that meet every condition that is set. The zero
// value selects all letters.
type Filter struct {
	IDs        []string // whole, or without the hex digits at the end
	Origin     string
	Reasons    []string
	Stages     []string
	Rules      []string
	Paths      []string // items[2].price, or items[].price for any item
	Keys       []string // of the source record
	Partitions []int32  // of the source
	MinOffset  *int64   // of the source
	MaxOffset  *int64
	Since      time.Time // failed at or after
	Until      time.Time // failed before
	Text       string    // within the value
	UID        string    // letters of an order: by key or by order_uid in the value
	// Failure is one of the letter's; its path is that of any item.
	Failure *Failure
	// Of, if set, is a condition of the caller's own.
	Of func(*Letter) bool
}

// Matches reports whether a letter meets the filter.
func (f *Filter) Matches(l *Letter) bool { return f.MatchesWith(l, (*Letter).Failures) }

// MatchesWith is Matches for a caller that remembers the failures of letters. They
// are asked for only if a condition needs them.
func (f *Filter) MatchesWith(l *Letter, failuresOf func(*Letter) []Failure) bool {
	switch {
	case len(f.IDs) > 0 && !slices.ContainsFunc(f.IDs, func(id string) bool { return SameID(id, l.ID) }),
		f.Origin != "" && l.Origin != f.Origin && l.ID != f.Origin,
		len(f.Reasons) > 0 && !slices.Contains(f.Reasons, l.Reason),
		len(f.Stages) > 0 && !slices.Contains(f.Stages, l.Stage),
		len(f.Keys) > 0 && !slices.Contains(f.Keys, string(l.SourceKey)),
		len(f.Partitions) > 0 && (l.Source.Topic == "" || !slices.Contains(f.Partitions, l.Source.Partition)),
		f.MinOffset != nil && (l.Source.Topic == "" || l.Source.Offset < *f.MinOffset),
		f.MaxOffset != nil && (l.Source.Topic == "" || l.Source.Offset < 0 || l.Source.Offset > *f.MaxOffset),
		!f.Since.IsZero() && l.FailedAt.Before(f.Since),
		!f.Until.IsZero() && !l.FailedAt.Before(f.Until),
		f.Text != "" && !bytes.Contains(l.Value, []byte(f.Text)),
		f.UID != "" && !ofOrder(l, f.UID),
		f.Of != nil && !f.Of(l):
		return false
	}
	if f.Failure == nil && len(f.Rules) == 0 && len(f.Paths) == 0 {
		return true
	}
	return f.matchesFailures(failuresOf(l))
}

func (f *Filter) matchesFailures(failures []Failure) bool {
	if f.Failure != nil && !slices.ContainsFunc(failures, func(e Failure) bool {
		return e.Rule == f.Failure.Rule && AnyItem(e.Path) == f.Failure.Path
	}) {
		return false
	}
	if len(f.Rules) == 0 && len(f.Paths) == 0 {
		return true
	}
	// One and the same failure must have the rule and the path.
	return slices.ContainsFunc(failures, func(e Failure) bool {
		return (len(f.Rules) == 0 || slices.Contains(f.Rules, e.Rule)) &&
			(len(f.Paths) == 0 || slices.Contains(f.Paths, e.Path) || slices.Contains(f.Paths, AnyItem(e.Path)))
	})
}

// Failures are the rules and paths of Errors, with the items' positions.
func (l *Letter) Failures() []Failure {
	errs := l.Errors()
	failures := make([]Failure, len(errs))
	for i, e := range errs {
		failures[i] = Failure{Rule: e.Rule, Path: e.Path}
	}
	return failures
}

var (
	position = regexp.MustCompile(`\[\d+\]`)
	digits   = regexp.MustCompile(`^/[0-9a-f]{8}$`)
)

// AnyItem is a path without the items' positions: items[].price.
func AnyItem(path string) string {
	if !strings.Contains(path, "[") {
		return path
	}
	return position.ReplaceAllString(path, "[]")
}

// SameID reports whether an id, with or without its hex digits, names a letter.
func SameID(given, id string) bool {
	rest, ok := strings.CutPrefix(id, given)
	return ok && (rest == "" || digits.MatchString(rest))
}

// id is the form of ids: topic/partition/offset or nats/stream/sequence, and perhaps
// the digits.
var id = regexp.MustCompile(`^[^/\s:?]+/[^/\s]+/\d+(/[0-9a-f]{8})?$`)

// IsID tells whether a text has the form of a letter's id.
func IsID(text string) bool { return id.MatchString(text) }

// ofOrder looks for an order_uid in the key and in a value that may be broken.
func ofOrder(l *Letter, uid string) bool {
	return slices.Contains(deadletter.OrderUIDs(l.SourceKey, nil), uid) || slices.Contains(deadletter.OrderUIDs(nil, l.Value), uid)
}

// ParseStatus reads open, resolved or any.
func ParseStatus(text string) (Status, error) {
	switch status := Status(text); status {
	case Open, Resolved, Any:
		return status, nil
	}
	return "", fmt.Errorf("open, resolved or any, not %q", text)
}

// ParseWhen reads a moment as people give it: how long ago it was, as 2h or 30d,
// a date, or RFC 3339. An empty text is the zero time.
func ParseWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := ParseAge(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("an age such as 2h or 30d, a date such as 2026-01-31, or RFC 3339, not %q", text)
}

// ParseAge is time.ParseDuration with days, and without negative values.
func ParseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		const most = 100 * 365
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= most) {
			return 0, fmt.Errorf("%q is no number of days", text)
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	age, err := time.ParseDuration(text)
	if err == nil && age < 0 {
		err = fmt.Errorf("%q is negative", text)
	}
	return age, err
}

// ParseOffsets reads an offset or a range of them: 5, 100-200, 100- or -200. A
// nil bound is none.
func ParseOffsets(text string) (low, high *int64, err error) {
	if text == "" {
		return nil, nil, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	bound := func(text string) *int64 {
		if text == "" || err != nil {
			return nil
		}
		n, wrong := strconv.ParseInt(text, 10, 64)
		if wrong != nil || n < 0 {
			err = fmt.Errorf("an offset, or a range such as 100-200, 100- or -200, not %q", text)
			return nil
		}
		return &n
	}
	low, high = bound(from), bound(to)
	return low, high, err
}
