package dlqview

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
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

// ShowStats writes counts for people.
func ShowStats(w io.Writer, style Style, s *dlq.Stats) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", style.yellow(fmt.Sprintf("%d open", s.Open)), style.green(fmt.Sprintf("%d resolved", s.Resolved)))
	section := func(title string, counts map[string]dlq.Count) {
		if len(counts) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", style.bold(fmt.Sprintf("%-32s %9s %9s", title, "open", "resolved")))
		for _, name := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
			ca, cb := counts[a], counts[b]
			return cmp.Or(cmp.Compare(cb.Total(), ca.Total()), cmp.Compare(a, b))
		}) {
			fmt.Fprintf(&b, "%s %9d %9d\n", padded("  "+cut(Clean(name), 30), 32), counts[name].Open, counts[name].Resolved)
		}
	}
	reasons := map[string]dlq.Count{}
	for reason, n := range s.ByReason {
		reasons[reason] = dlq.Count{Open: s.OpenByReason[reason], Resolved: n - s.OpenByReason[reason]}
	}
	section("Reason", reasons)
	section("Rule", s.ByRule)
	section("Source", s.ByPartition)
	histogram(&b, style, s)
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

func histogram(b *strings.Builder, style Style, s *dlq.Stats) {
	const bars = 60
	counts, span := s.Histogram(bars)
	if counts == nil {
		return
	}
	most := slices.Max(counts)
	fmt.Fprintf(b, "\n%s\n  ", style.bold("Over time"))
	for _, n := range counts {
		level := 0
		if n > 0 {
			level = 1 + n*(len(blocks)-2)/most
		}
		b.WriteRune(blocks[level])
	}
	fmt.Fprintf(b, "\n  from %s, %s a bar, at most %d\n", when(s.First), span.Round(time.Millisecond), most)
}
