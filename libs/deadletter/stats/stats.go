// Package stats counts dead letters: by reason, rule, source and time, and by
// cause, which is reason, rule and path together.
package stats

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/index"
	"github.com/orderhub/orderhub/libs/deadletter/store"
)

// Count is how many letters have something in common.
type Count struct {
	Open     int `json:"open"`
	Resolved int `json:"resolved"`
}

// Total is open and resolved letters together.
func (c *Count) Total() int { return c.Open + c.Resolved }

func (c *Count) add(status index.Status) {
	if status == index.Open {
		c.Open++
	} else {
		c.Resolved++
	}
}

// Cause is why letters failed: reason, rule and path together. A letter with
// several failures counts under each of its causes.
type Cause struct {
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"`
	Path   string `json:"path,omitempty"` // items[].price: of any item
	Count
	First  time.Time `json:"first_seen"`
	Last   time.Time `json:"last_seen"`
	Sample string    `json:"sample"` // id of the newest; see FillSamples

	// New is how many failed at or after Options.NewSince.
	New int `json:"-"`
	// Curve counts the letters in equal spans of time; see Options.
	Curve []int `json:"-"`
	// Newest is the newest letter.
	Newest index.Ref `json:"-"`
}

// Filter finds the letters of the cause.
func (c *Cause) Filter() index.Filter {
	f := index.Filter{Reasons: []string{c.Reason}}
	if c.Rule == "" && c.Path == "" {
		f.NoFailures = true
		return f
	}
	f.Failure = &index.Failure{Rule: c.Rule, Path: c.Path}
	return f
}

// Options say what is counted besides.
type Options struct {
	// NewSince is for Cause.New; zero: nothing is new.
	NewSince time.Time
	// Bars is how many spans a cause's curve has between From and Until; 0:
	// none. What lies outside is left out of it.
	Bars        int
	From, Until time.Time
}

// Stats are counts of letters.
type Stats struct {
	Count
	// ByReason has both open and resolved letters; OpenByReason those that wait.
	ByReason     map[string]int   `json:"by_reason"`
	OpenByReason map[string]int   `json:"open_by_reason"`
	ByRule       map[string]Count `json:"by_rule"`
	ByPartition  map[string]Count `json:"by_partition"` // of the source: topic/partition
	// Causes are all causes, that with most letters first.
	Causes []*Cause `json:"causes"`
	// First and Last are when the first and the last of the letters failed.
	First time.Time `json:"-"`
	Last  time.Time `json:"-"`

	times []int64 // nanoseconds since 1970
}

type causeKey struct{ reason, rule, path string }

// perGroup is what the letters of a group are counted under.
type perGroup struct {
	reason    string
	open      int
	resolved  int
	partition string
	rules     []string
	causes    []*Cause
}

// Of counts letters, such as those of Index.Each, which come in any order. The
// samples' ids are still to be filled in.
func Of(refs iter.Seq[*index.Ref], o Options) *Stats {
	s := &Stats{
		ByReason: map[string]int{}, OpenByReason: map[string]int{}, ByRule: map[string]Count{}, ByPartition: map[string]Count{},
		Causes: []*Cause{},
	}
	causes, groups := map[causeKey]*Cause{}, map[*index.Group]*perGroup{}
	for ref := range refs {
		g := groups[ref.Group]
		if g == nil {
			g = s.group(ref.Group, causes, o)
			groups[ref.Group] = g
		}
		if ref.Status == index.Open {
			g.open++
		} else {
			g.resolved++
		}
		s.times = append(s.times, ref.FailedAt.UnixNano())
		if s.First.IsZero() || ref.FailedAt.Before(s.First) {
			s.First = ref.FailedAt
		}
		if ref.FailedAt.After(s.Last) {
			s.Last = ref.FailedAt
		}
		for _, c := range g.causes {
			c.take(ref, o)
		}
	}
	for _, g := range groups {
		s.Open, s.Resolved = s.Open+g.open, s.Resolved+g.resolved
		s.ByReason[g.reason] += g.open + g.resolved
		if g.open > 0 {
			s.OpenByReason[g.reason] += g.open
		}
		sum := func(counts map[string]Count, name string) {
			c := counts[name]
			c.Open, c.Resolved = c.Open+g.open, c.Resolved+g.resolved
			counts[name] = c
		}
		if g.partition != "" {
			sum(s.ByPartition, g.partition)
		}
		for _, rule := range g.rules {
			sum(s.ByRule, rule)
		}
	}
	slices.SortFunc(s.Causes, func(a, b *Cause) int {
		return cmp.Or(cmp.Compare(b.Total(), a.Total()), b.Last.Compare(a.Last), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Path, b.Path))
	})
	return s
}

func (s *Stats) group(of *index.Group, causes map[causeKey]*Cause, o Options) *perGroup {
	g := &perGroup{reason: of.Reason}
	if of.SourceTopic != "" {
		g.partition = of.SourceTopic + "/" + strconv.Itoa(int(of.SourcePartition))
	}
	failures := of.Failures
	if len(failures) == 0 {
		failures = []index.Failure{{}}
	}
	for _, f := range failures {
		if f.Rule != "" && !slices.Contains(g.rules, f.Rule) {
			g.rules = append(g.rules, f.Rule)
		}
		k := causeKey{of.Reason, f.Rule, f.Path}
		c := causes[k]
		if c == nil {
			c = &Cause{Reason: k.reason, Rule: k.rule, Path: k.path}
			if o.Bars > 0 {
				c.Curve = make([]int, o.Bars)
			}
			causes[k] = c
			s.Causes = append(s.Causes, c)
		}
		g.causes = append(g.causes, c)
	}
	return g
}

func (c *Cause) take(ref *index.Ref, o Options) {
	if c.Total() == 0 || ref.FailedAt.Before(c.First) {
		c.First = ref.FailedAt
	}
	if c.Total() == 0 || ref.FailedAt.After(c.Last) {
		c.Last, c.Newest = ref.FailedAt, *ref
	}
	c.add(ref.Status)
	if !o.NewSince.IsZero() && !ref.FailedAt.Before(o.NewSince) {
		c.New++
	}
	if span := o.Until.Sub(o.From); o.Bars > 0 && span > 0 {
		if at := ref.FailedAt.Sub(o.From); at >= 0 && at < span {
			c.Curve[int(int64(at)/(int64(span)/int64(o.Bars)+1))]++
		}
	}
}

// Histogram counts in equal spans of time between the first letter and the last.
func (s *Stats) Histogram(bars int) (counts []int, span time.Duration) {
	if len(s.times) == 0 {
		return nil, 0
	}
	first := s.First.UnixNano()
	step := (s.Last.UnixNano()-first)/int64(bars) + 1
	counts = make([]int, bars)
	for _, t := range s.times {
		counts[(t-first)/step]++
	}
	return counts, time.Duration(step)
}

// FillSamples gives each of the first causes, at most limit of them (0: all), the
// id of its newest letter. A letter that is gone meanwhile leaves it empty.
func (s *Stats) FillSamples(ctx context.Context, box *store.Store, limit int) error {
	causes := s.Causes
	if limit > 0 && len(causes) > limit {
		causes = causes[:limit]
	}
	newest := make([]index.Ref, len(causes))
	for i, c := range causes {
		newest[i] = c.Newest
	}
	items, err := box.Load(ctx, newest)
	if err != nil && !errors.Is(err, store.ErrChanged) {
		return err
	}
	for _, item := range items {
		for _, c := range causes {
			if c.Newest.Partition == item.Ref.Partition && c.Newest.Offset == item.Ref.Offset {
				c.Sample = item.ID
			}
		}
	}
	return nil
}
