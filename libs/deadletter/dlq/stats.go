package dlq

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// Count is how many letters have something in common.
type Count struct {
	Open     int `json:"open"`
	Resolved int `json:"resolved"`
}

// Total is open and resolved letters together.
func (c *Count) Total() int { return c.Open + c.Resolved }

func (c *Count) add(status letter.Status) {
	if status == letter.Open {
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
	Sample string    `json:"sample"` // id of the newest letter

	// New is how many failed at or after StatsOptions.NewSince.
	New int `json:"-"`
	// Curve counts the letters in equal spans of time; see StatsOptions.
	Curve []int `json:"-"`
	// Newest is the newest letter.
	Newest Ref `json:"-"`
}

// Filter finds the letters of the cause.
func (c *Cause) Filter() letter.Filter {
	f := letter.Filter{Reasons: []string{c.Reason}}
	if c.Rule == "" && c.Path == "" {
		f.NoFailures = true
		return f
	}
	f.Failure = &letter.Failure{Rule: c.Rule, Path: c.Path}
	return f
}

// StatsOptions say what else StatsOf counts.
type StatsOptions struct {
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

// StatsOf counts letters, such as those of View.Each, which come in any order.
func StatsOf(refs iter.Seq[*Ref], o StatsOptions) *Stats {
	s := &Stats{
		ByReason: map[string]int{}, OpenByReason: map[string]int{}, ByRule: map[string]Count{}, ByPartition: map[string]Count{},
		Causes: []*Cause{},
	}
	causes, groups := map[causeKey]*Cause{}, map[*Group]*perGroup{}
	for ref := range refs {
		g := groups[ref.Group]
		if g == nil {
			g = s.group(ref.Group, causes, o)
			groups[ref.Group] = g
		}
		if ref.Status == letter.Open {
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

func (s *Stats) group(of *Group, causes map[causeKey]*Cause, o StatsOptions) *perGroup {
	g := &perGroup{reason: of.Reason}
	if of.SourceTopic != "" {
		g.partition = of.SourceTopic + "/" + strconv.Itoa(int(of.SourcePartition))
	}
	failures := of.Failures
	if len(failures) == 0 {
		failures = []letter.Failure{{}}
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

func (c *Cause) take(ref *Ref, o StatsOptions) {
	if c.Total() == 0 || ref.FailedAt.Before(c.First) {
		c.First = ref.FailedAt
	}
	if c.Total() == 0 || ref.FailedAt.After(c.Last) {
		c.Last, c.Newest, c.Sample = ref.FailedAt, *ref, ref.ID
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
