package console

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// view is what the topic held at a moment. It is never changed.
type view struct {
	version string
	refs    []dlq.Ref // newest first
	open    int
}

func newView(refs []dlq.Ref) *view {
	v := &view{refs: refs}
	for i := range refs {
		if refs[i].Status == letter.Open {
			v.open++
		}
	}
	return v
}

// position is where a letter stands among those that are sorted newest first.
type position struct {
	at        int64 // failed at, nanoseconds
	partition int32
	offset    int64
}

func positionOf(r *dlq.Ref) position {
	return position{r.FailedAt.UnixNano(), r.Partition, r.Offset}
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(q.at, p.at), cmp.Compare(q.partition, p.partition), cmp.Compare(q.offset, p.offset))
}

// String goes into addresses.
func (p position) String() string {
	return strconv.FormatInt(p.at, 10) + "." + strconv.Itoa(int(p.partition)) + "." + strconv.FormatInt(p.offset, 10)
}

func parsePosition(text string) (position, bool) {
	at, rest, _ := strings.Cut(text, ".")
	where, ok := parsePlace(rest)
	nanos, err := strconv.ParseInt(at, 10, 64)
	return position{nanos, where.Partition, where.Offset}, ok && err == nil
}

// place is where a letter stands in its topic.
type place struct {
	Partition int32
	Offset    int64
}

// String goes into addresses and forms.
func (p place) String() string {
	return strconv.Itoa(int(p.Partition)) + "." + strconv.FormatInt(p.Offset, 10)
}

func parsePlace(text string) (place, bool) {
	number, offset, ok := strings.Cut(text, ".")
	n, err := strconv.ParseInt(number, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	return place{int32(n), o}, ok && err == nil && err2 == nil && n >= 0 && o >= 0
}

// find gives the letter at a position.
func (v *view) find(p position) (dlq.Ref, bool) {
	i, ok := slices.BinarySearchFunc(v.refs, p, func(r dlq.Ref, p position) int { return positionOf(&r).compare(p) })
	if !ok {
		return dlq.Ref{}, false
	}
	return v.refs[i], true
}

// at gives the letters at places, in the view's order.
func (v *view) at(places map[place]bool) []dlq.Ref {
	found := make([]dlq.Ref, 0, len(places))
	for i := range v.refs {
		if places[place{v.refs[i].Partition, v.refs[i].Offset}] {
			found = append(found, v.refs[i])
		}
	}
	return found
}

// fromSource gives the letters that may have an id, which begins with a topic, a
// partition and an offset: those of the source, or of letters of foreign form
// their own.
func (v *view) fromSource(id string) []dlq.Ref {
	parts := strings.Split(id, "/")
	if len(parts) < 3 {
		return nil
	}
	number, err := strconv.ParseInt(parts[1], 10, 32)
	offset, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || err2 != nil {
		return nil
	}
	var found []dlq.Ref
	for i := range v.refs {
		r := &v.refs[i]
		if r.Group.SourceTopic == parts[0] && r.Group.SourcePartition == int32(number) && r.SourceOffset == offset ||
			r.Partition == int32(number) && r.Offset == offset {
			found = append(found, *r)
		}
	}
	return found
}

// none stands in an address for a failure without rule, or without path.
const none = "-"

// span is the time that curves show.
type span struct {
	Name   string // in addresses
	Title  string
	Bars   int
	length time.Duration
}

var spans = []span{
	{"1h", "1 hour", 60, time.Hour},
	{"24h", "24 hours", 48, day},
	{"14d", "14 days", 56, 14 * day},
}

const standardSpan = "24h"

func spanNamed(name string) span {
	for _, s := range spans {
		if s.Name == name {
			return s
		}
	}
	return spanNamed(standardSpan)
}

// day is what "since yesterday" means: the same time of yesterday.
const day = 24 * time.Hour

// overview counts letters with a status by cause.
func (v *view) overview(status letter.Status, s span, now time.Time) *dlq.Stats {
	refs := func(yield func(*dlq.Ref) bool) {
		for i := range v.refs {
			if (status == letter.Any || v.refs[i].Status == status) && !yield(&v.refs[i]) {
				return
			}
		}
	}
	return dlq.StatsOf(refs, dlq.StatsOptions{NewSince: now.Add(-day), Bars: s.Bars, From: now.Add(-s.length), Until: now.Add(time.Second)})
}

// failuresOf are a group's failures; without one there is a cause all the same.
func failuresOf(g *dlq.Group) []letter.Failure {
	if len(g.Failures) == 0 {
		return []letter.Failure{{}}
	}
	return g.Failures
}
