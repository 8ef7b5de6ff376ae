package dlqview

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/index"
)

// Count is how many letters have something in common.
type Count struct {
	Open     int `json:"open"`
	Resolved int `json:"resolved"`
}

func (c *Count) add(status index.Status) {
	if status == index.Open {
		c.Open++
	} else {
		c.Resolved++
	}
}

func (c *Count) total() int { return c.Open + c.Resolved }

// Cause is why letters failed: reason, rule and path together.
type Cause struct {
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"`
	Path   string `json:"path,omitempty"`
	Count
	First  time.Time `json:"first_seen"`
	Last   time.Time `json:"last_seen"`
	Sample string    `json:"sample"` // id of the newest

	Newest index.Ref `json:"-"`
}

// Stats are counts of letters.
type Stats struct {
	Count
	// ByReason has both open and resolved letters; OpenByReason those that wait.
	ByReason     map[string]int   `json:"by_reason"`
	OpenByReason map[string]int   `json:"open_by_reason"`
	ByRule       map[string]Count `json:"by_rule"`
	ByPartition  map[string]Count `json:"by_partition"` // of the source: topic/partition
	Causes       []*Cause         `json:"causes"`

	times []time.Time
}

// StatsOf counts letters. Of the causes, most letters first, the samples' ids are
// still to be filled in.
func StatsOf(refs []index.Ref) *Stats {
	s := &Stats{
		ByReason: map[string]int{}, OpenByReason: map[string]int{}, ByRule: map[string]Count{}, ByPartition: map[string]Count{},
		Causes: []*Cause{},
	}
	type cause struct{ reason, rule, path string }
	causes := map[cause]*Cause{}
	bump := func(counts map[string]Count, name string, status index.Status) {
		c := counts[name]
		c.add(status)
		counts[name] = c
	}
	for _, ref := range refs { // newest first
		g := ref.Group
		s.add(ref.Status)
		s.ByReason[g.Reason]++
		if ref.Status == index.Open {
			s.OpenByReason[g.Reason]++
		}
		if g.SourceTopic != "" {
			bump(s.ByPartition, fmt.Sprintf("%s/%d", g.SourceTopic, g.SourcePartition), ref.Status)
		}
		s.times = append(s.times, ref.FailedAt)
		var rules []string
		failures := g.Failures
		if len(failures) == 0 {
			failures = []index.Failure{{}}
		}
		for _, f := range failures {
			if f.Rule != "" && !slices.Contains(rules, f.Rule) {
				rules = append(rules, f.Rule)
				bump(s.ByRule, f.Rule, ref.Status)
			}
			k := cause{g.Reason, f.Rule, f.Path}
			c := causes[k]
			if c == nil {
				c = &Cause{Reason: g.Reason, Rule: f.Rule, Path: f.Path, Last: ref.FailedAt, Newest: ref}
				causes[k] = c
				s.Causes = append(s.Causes, c)
			}
			c.add(ref.Status)
			c.First = ref.FailedAt
		}
	}
	slices.SortStableFunc(s.Causes, func(a, b *Cause) int { return cmp.Compare(b.total(), a.total()) })
	return s
}

// Histogram counts in equal spans of time between the first letter and the last.
func (s *Stats) Histogram(bars int) (counts []int, span time.Duration) {
	if len(s.times) == 0 {
		return nil, 0
	}
	first, last := slices.MinFunc(s.times, time.Time.Compare), slices.MaxFunc(s.times, time.Time.Compare)
	span = last.Sub(first)/time.Duration(bars) + 1
	counts = make([]int, bars)
	for _, t := range s.times {
		counts[t.Sub(first)/span]++
	}
	return counts, span
}

var blocks = []rune(" ▁▂▃▄▅▆▇█")

// maxCauses is how many causes people are shown.
const maxCauses = 20

// ShowStats writes counts for people.
func ShowStats(w io.Writer, style Style, s *Stats) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", style.yellow(fmt.Sprintf("%d open", s.Open)), style.green(fmt.Sprintf("%d resolved", s.Resolved)))
	section := func(title string, counts map[string]Count) {
		if len(counts) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", style.bold(fmt.Sprintf("%-32s %9s %9s", title, "open", "resolved")))
		for _, name := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
			ca, cb := counts[a], counts[b]
			return cmp.Or(cmp.Compare(cb.total(), ca.total()), cmp.Compare(a, b))
		}) {
			fmt.Fprintf(&b, "%s %9d %9d\n", padded("  "+cut(Clean(name), 30), 32), counts[name].Open, counts[name].Resolved)
		}
	}
	reasons := map[string]Count{}
	for reason, n := range s.ByReason {
		reasons[reason] = Count{Open: s.OpenByReason[reason], Resolved: n - s.OpenByReason[reason]}
	}
	section("Reason", reasons)
	section("Rule", s.ByRule)
	section("Source", s.ByPartition)
	s.histogram(&b, style)
	if len(s.Causes) > 0 {
		fmt.Fprintf(&b, "\n%s\n", style.bold("Causes"))
	}
	for i, c := range s.Causes {
		if i == maxCauses {
			fmt.Fprintf(&b, "  %s\n", style.dim(fmt.Sprintf("… and %d more", len(s.Causes)-i)))
			break
		}
		fmt.Fprintf(&b, "  %s: %d open, %d resolved\n      %s to %s, such as %s\n", Clean(c.Reason+after(" ", c.Rule)+after(" at ", c.Path)),
			c.Open, c.Resolved, when(c.First), when(c.Last), Clean(c.Sample))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Stats) histogram(b *strings.Builder, style Style) {
	const bars = 60
	counts, span := s.Histogram(bars)
	if counts == nil {
		return
	}
	most := slices.Max(counts)
	first := slices.MinFunc(s.times, time.Time.Compare)
	fmt.Fprintf(b, "\n%s\n  ", style.bold("Over time"))
	for _, n := range counts {
		level := 0
		if n > 0 {
			level = 1 + n*(len(blocks)-2)/most
		}
		b.WriteRune(blocks[level])
	}
	fmt.Fprintf(b, "\n  from %s, %s a bar, at most %d\n", when(first), span.Round(time.Millisecond), most)
}
