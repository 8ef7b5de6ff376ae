package dlqview

import (
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

var blocks = []rune(" ▁▂▃▄▅▆▇█")

// MaskStats masks what counts of letters hold of records: names of fields, and what
// letters of foreign form give as reason.
func MaskStats(s *dlq.Stats) {
	for _, c := range s.Causes {
		c.Reason, c.Rule, c.Path = MaskCause(c.Reason, c.Rule, c.Path)
		c.Sample = mask.ID(c.Sample)
	}
	s.ByReason, s.OpenByReason = masked(s.ByReason), masked(s.OpenByReason)
	s.ByRule = masked(s.ByRule)
}

// masked joins the counts of names that look the same once they are masked by
// keeping one of them.
func masked[N any](counts map[string]N) map[string]N {
	shown := make(map[string]N, len(counts))
	for name, n := range counts {
		shown[mask.Label(name)] = n
	}
	return shown
}

// maxCauses is how many causes people are shown.
const maxCauses = 20

// A table counts letters by what they have in common.
type table struct {
	Title string
	Rows  []tableRow // that with most letters first
}

type tableRow struct {
	Name string
	dlq.Count
}

func tableOf(title string, counts map[string]dlq.Count) table {
	t := table{Title: title}
	for name, n := range counts {
		t.Rows = append(t.Rows, tableRow{name, n})
	}
	slices.SortFunc(t.Rows, func(a, b tableRow) int {
		return cmp.Or(cmp.Compare(b.Total(), a.Total()), cmp.Compare(a.Name, b.Name))
	})
	return t
}

// ShowStats writes counts for people.
func ShowStats(w io.Writer, style Style, s *dlq.Stats) error {
	reasons := map[string]dlq.Count{}
	for reason, n := range s.ByReason {
		reasons[reason] = dlq.Count{Open: s.OpenByReason[reason], Resolved: n - s.OpenByReason[reason]}
	}
	shown := struct {
		*dlq.Stats
		Tables []table
		Bars   string
		Span   time.Duration
		Most   int
		Causes []*dlq.Cause
		More   int
	}{Stats: s, Tables: []table{tableOf("Reason", reasons), tableOf("Rule", s.ByRule), tableOf("Source", s.ByPartition)}}
	const bars = 60
	if counts, span := s.Histogram(bars); counts != nil {
		shown.Span, shown.Most = span.Round(time.Millisecond), slices.Max(counts)
		for _, n := range counts {
			level := 0
			if n > 0 {
				level = 1 + n*(len(blocks)-2)/shown.Most
			}
			shown.Bars += string(blocks[level])
		}
	}
	shown.Causes = s.Causes[:min(len(s.Causes), maxCauses)]
	shown.More = len(s.Causes) - len(shown.Causes)
	return style.Write(w, "stats.txt", shown)
}
