package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// report prints what was done and what was found.
func report(w io.Writer, hits []*hit, e *ledger.Expected, f *ledger.Findings) {
	byKind, all := map[*kind][]time.Duration{}, make([]time.Duration, 0, len(hits))
	for _, h := range hits {
		byKind[h.kind] = append(byKind[h.kind], h.recovery)
		all = append(all, h.recovery)
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "strike\ttimes\trecovery p50\tp99\tworst\t")
	for i := range kinds {
		row(table, kinds[i].name, byKind[&kinds[i]])
	}
	row(table, "all", all)
	_ = table.Flush()
	slowest(w, hits)
	_, _ = fmt.Fprintf(w, "\n%d records: %d orders to be stored, %d duplicates, %d conflicts, %d broken\n%s\n",
		e.Records, len(e.Orders), e.Duplicates, e.Conflicts, e.Broken, f)
}

// slowest prints how long workers and readers took to recover from the slowest
// strikes.
func slowest(w io.Writer, hits []*hit) {
	const shown = 3
	sorted := slices.SortedFunc(slices.Values(hits), func(a, b *hit) int { return cmp.Compare(b.recovery, a.recovery) })
	_, _ = fmt.Fprintln(w, "\nThe slowest:")
	for _, h := range sorted[:min(shown, len(sorted))] {
		workers := h.caughtUp.Sub(h.began)
		_, _ = fmt.Fprintf(w, "  %s: the workers after %s, the readers %s later\n", h.what, round(workers), round(h.recovery-workers))
	}
}

func row(w io.Writer, name string, recoveries []time.Duration) {
	if len(recoveries) == 0 {
		return
	}
	slices.Sort(recoveries)
	_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t\n", name, len(recoveries),
		round(percentile(recoveries, 50)), round(percentile(recoveries, 99)), round(recoveries[len(recoveries)-1]))
}

// percentile is the least of the sorted values that p percent of them do not
// exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}

func round(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
