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
	// All counts the letters as if they had one cause.
	All Cause `json:"-"`

	times []int64 // nanoseconds since 1970
}

type causeKey struct {
	reason  string
	failure letter.Failure
}

// StatsOf counts letters, such as those of View.Each, which come in any order.
func StatsOf(refs iter.Seq[*Ref], o StatsOptions) *Stats {
	s := &Stats{
		ByReason: map[string]int{}, OpenByReason: map[string]int{}, ByRule: map[string]Count{}, ByPartition: map[string]Count{},
		Causes: []*Cause{}, All: Cause{Curve: make([]int, o.Bars)},
	}
	causes := map[causeKey]*Cause{}
	for ref := range refs {
		s.times = append(s.times, ref.FailedAt.UnixNano())
		s.All.take(ref, o)
		s.ByReason[ref.Reason]++
		if ref.Status == letter.Open {
			s.OpenByReason[ref.Reason]++
		}
		if ref.SourceTopic != "" && ref.SourcePartition >= 0 {
			count(s.ByPartition, ref.SourceTopic+"/"+strconv.Itoa(int(ref.SourcePartition)), ref.Status)
		}
		for i, f := range ref.Causes {
			of := causeKey{ref.Reason, f}
			if causes[of] == nil {
				causes[of] = &Cause{Reason: ref.Reason, Rule: f.Rule, Path: f.Path, Curve: make([]int, o.Bars)}
				s.Causes = append(s.Causes, causes[of])
			}
			causes[of].take(ref, o)
			if f.Rule != "" && !slices.ContainsFunc(ref.Causes[:i], func(before letter.Failure) bool { return before.Rule == f.Rule }) {
				count(s.ByRule, f.Rule, ref.Status)
			}
		}
	}
	s.Count = s.All.Count
	slices.SortFunc(s.Causes, func(a, b *Cause) int {
		return cmp.Or(cmp.Compare(b.Total(), a.Total()), b.Last.Compare(a.Last), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Path, b.Path))
	})
	return s
}

// Each yields letters with a status.
func Each(refs []Ref, status letter.Status) iter.Seq[*Ref] {
	return func(yield func(*Ref) bool) {
		for i := range refs {
			if (status == letter.Any || refs[i].Status == status) && !yield(&refs[i]) {
				return
			}
		}
	}
}

func count(counts map[string]Count, name string, status letter.Status) {
	c := counts[name]
	c.add(status)
	counts[name] = c
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
	first := s.All.First.UnixNano()
	step := (s.All.Last.UnixNano()-first)/int64(bars) + 1
	counts = make([]int, bars)
	for _, t := range s.times {
		counts[(t-first)/step]++
	}
	return counts, time.Duration(step)
}
