package index

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// Filter says which letters are asked for: those that meet every condition that
// is set. The zero value is all letters.
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
	// Failure is one of the letter's: rule and path, of any item.
	Failure *Failure
	// NoFailures is for letters that name none.
	NoFailures bool
}

// Matches says whether a letter meets the filter.
func (f *Filter) Matches(l *letter.Letter) bool {
	var t texts
	return f.matches(l, t.failures(l))
}

func (f *Filter) matches(l *letter.Letter, failures *failures) bool {
	switch {
	case len(f.IDs) > 0 && !slices.ContainsFunc(f.IDs, func(id string) bool { return SameID(id, l.ID) }),
		f.Origin != "" && l.Origin != f.Origin && l.ID != f.Origin,
		len(f.Reasons) > 0 && !slices.Contains(f.Reasons, l.Reason),
		len(f.Stages) > 0 && !slices.Contains(f.Stages, l.Stage),
		len(f.Keys) > 0 && !slices.Contains(f.Keys, string(l.SourceKey)),
		len(f.Partitions) > 0 && (l.Source.Topic == "" || !slices.Contains(f.Partitions, l.Source.Partition)),
		f.MinOffset != nil && (l.Source.Topic == "" || l.Source.Offset < *f.MinOffset),
		f.MaxOffset != nil && (l.Source.Topic == "" || l.Source.Offset > *f.MaxOffset),
		!f.Since.IsZero() && l.FailedAt.Before(f.Since),
		!f.Until.IsZero() && !l.FailedAt.Before(f.Until),
		f.NoFailures && len(failures.exact) > 0,
		f.Failure != nil && !slices.ContainsFunc(failures.exact, func(e Failure) bool {
			return e.Rule == f.Failure.Rule && AnyItem(e.Path) == f.Failure.Path
		}),
		f.Text != "" && !bytes.Contains(l.Value, []byte(f.Text)),
		f.UID != "" && !ofOrder(l, f.UID):
		return false
	}
	if len(f.Rules) == 0 && len(f.Paths) == 0 {
		return true
	}
	// Rule and path are to be those of one failure.
	return slices.ContainsFunc(failures.exact, func(e Failure) bool {
		return (len(f.Rules) == 0 || slices.Contains(f.Rules, e.Rule)) &&
			(len(f.Paths) == 0 || slices.Contains(f.Paths, e.Path) || slices.Contains(f.Paths, AnyItem(e.Path)))
	})
}

var (
	position = regexp.MustCompile(`\[\d+\]`)
	digits   = regexp.MustCompile(`^[0-9a-f]{8}$`)
)

// AnyItem is a path without the items' positions: items[].price.
func AnyItem(path string) string {
	if !strings.Contains(path, "[") {
		return path
	}
	return position.ReplaceAllString(path, "[]")
}

// SameID says whether an id, with or without its hex digits, names a letter.
func SameID(given, id string) bool {
	if given == id {
		return true
	}
	rest, ok := strings.CutPrefix(id, given)
	return ok && len(rest) == 9 && rest[0] == '/' && digits.MatchString(rest[1:])
}

// ofOrder looks for an order_uid as far as a value can be read that may be
// broken.
func ofOrder(l *letter.Letter, uid string) bool {
	if string(l.SourceKey) == uid {
		return true
	}
	name, quoted := []byte(`"order_uid"`), []byte(`"`+uid+`"`)
	for rest := l.Value; ; {
		i := bytes.Index(rest, name)
		if i < 0 {
			return false
		}
		rest = rest[i+len(name):]
		after := bytes.TrimLeft(rest, " \t\r\n")
		if value, ok := bytes.CutPrefix(after, []byte(":")); ok && bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), quoted) {
			return true
		}
	}
}
