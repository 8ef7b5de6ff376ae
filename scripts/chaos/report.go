package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// tell prints what was done.
func tell(w io.Writer, hits []*hit) {
	table := report.Table{Columns: []string{"strike", "times", "recovery p50, s", "p99", "worst"}}
	row := func(name string, counts func(*hit) bool) {
		var recoveries []time.Duration
		for _, h := range hits {
			if counts(h) {
				recoveries = append(recoveries, h.recovery)
			}
		}
		share := func(share float64) string { return fmt.Sprintf("%.1f", report.Percentile(recoveries, share).Seconds()) }
		if len(recoveries) > 0 {
			table.Add(name, fmt.Sprint(len(recoveries)), share(0.5), share(0.99), share(1))
		}
	}
	for i := range kinds {
		row(kinds[i].name, func(h *hit) bool { return h.kind == &kinds[i] })
	}
	row("all", func(*hit) bool { return true })
	_, _ = fmt.Fprintf(w, "%s\nThe slowest:\n", table.Markdown())
	const shown = 3
	sorted := slices.SortedFunc(slices.Values(hits), func(a, b *hit) int { return cmp.Compare(b.recovery, a.recovery) })
	for _, h := range sorted[:min(shown, len(sorted))] {
		workers := h.caughtUp.Sub(h.began)
		_, _ = fmt.Fprintf(w, "  %s: the workers after %s, the readers %s later\n", h.what, round(workers), round(h.recovery-workers))
	}
	_, _ = fmt.Fprintln(w)
}

func round(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

// storyTime is how far from a record's timestamp log lines belong to its story.
const storyTime = 30 * time.Second

// event is a line of a service's log, or a strike.
type event struct {
	at   time.Time
	text string
}

// line is what stories need of a line of a service's log.
type line struct {
	Time      time.Time `json:"time"`
	Partition *int32    `json:"partition"`
}

// stories prints for each finding the services' log lines about its record, or of
// its time, and the strikes of that time.
func (s *site) stories(w io.Writer, hits []*hit, f *ledger.Findings) {
	for _, finding := range f.First {
		_, _ = fmt.Fprintf(w, "\nThe story of: %s\n", finding.What)
		if finding.Offset >= 0 {
			_, _ = fmt.Fprintf(w, "  partition %d, offset %d, sent at %s; committed %d, end %d\n", finding.Partition, finding.Offset,
				finding.At.Format(time.RFC3339Nano), f.Committed[finding.Partition], f.Ends[finding.Partition])
		}
		var events []event
		for _, h := range hits {
			if !finding.At.IsZero() && h.began.Sub(finding.At).Abs() < storyTime {
				events = append(events, event{h.began, fmt.Sprintf("*** %s (recovered after %s)", h.what, round(h.recovery))})
			}
		}
		for _, service := range s.services() {
			events = append(events, linesAbout(service, finding)...)
		}
		slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
		for _, e := range events {
			_, _ = fmt.Fprintf(w, "  %s  %s\n", e.at.Format("15:04:05.000"), e.text)
		}
	}
}

func linesAbout(service *service, finding ledger.Finding) (events []event) {
	content, _ := os.ReadFile(service.LogFile) // one that never started has none
	for text := range strings.Lines(string(content)) {
		var l line
		if json.Unmarshal([]byte(text), &l) == nil && isAbout(l, text, finding) {
			events = append(events, event{l.Time, service.Name + ": " + strings.TrimSpace(text)})
		}
	}
	return events
}

// isAbout says whether a line names the record, or is of its time and of its partition
// or the whole service.
func isAbout(l line, text string, finding ledger.Finding) bool {
	if finding.UID != "" && strings.Contains(text, `"`+finding.UID+`"`) || finding.ID != "" && strings.Contains(text, finding.ID) {
		return true
	}
	return finding.Offset >= 0 && (l.Partition == nil || *l.Partition == finding.Partition) && l.Time.Sub(finding.At).Abs() < storyTime
}
