package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/orderdb/verify"
)

func TestSummaries(t *testing.T) {
	started := time.Now()
	for want, p := range map[string]published{
		`^published 1 record in \S+$`:                                     {Records: 1, ByKind: map[string]int{"order": 1}},
		`^published 3 records of x in \S+ \(\d+/s\), 2 refused by Kafka$`: {Records: 3, ByKind: map[string]int{"": 3}, Refusals: 2, Product: "Kafka"},
		`^published 4 records.*: 2 orders, 1 invalid record, 1 conflict, 1 of them sent before, so that the stream has not stored them again$`: {
			Records: 4, ByKind: map[string]int{"order": 2, "invalid": 1, "conflict": 1}, Repeats: 1,
		},
	} {
		p.start = started
		what := ""
		if p.Refusals > 0 {
			what = " of x"
		}
		time.Sleep(time.Millisecond)
		require.Regexp(t, want, p.summary(what))
	}
	require.Equal(t, "no orders", (&tally{}).String())
	require.Equal(t, "2 orders, 1 invalid (3 failures); unknown fields, which are not stored: a (1), b (2)",
		(&tally{Orders: 2, Invalid: 1, Failures: 3, Unknown: map[string]int{"b": 2, "a": 1}}).String())

	imported := func(r importReport, stopped, decided bool) string {
		return summary("imported", struct {
			importReport
			Took             time.Duration
			Stopped, Decided bool
		}{r, 2 * time.Second, stopped, decided})
	}
	require.Equal(t, "stopped: 4 orders in 2s (2/s): 3 published, 1 refused by the broker; 2 rows of items have no order",
		imported(importReport{Read: 4, Published: 3, Refused: 1, Orphans: map[string]int64{"items": 2}}, true, false))
	require.Equal(t, "3 orders in 2s (2/s): would be 1 stored, 0 duplicates, 2 failed (conflict 1, invalid 1)",
		imported(importReport{Read: 3, Stored: 1, Failed: 2, Reasons: map[string]int64{"invalid": 1, "conflict": 1}, DryRun: true}, false, true))

	require.Equal(t, "compared 1 order in 1s: no difference", summary("verified", verified{Result: verify.Result{Checked: 1}, Equal: true, Took: time.Second}))
	require.Equal(t, "compared 9 orders in 1s: 1 missing, 2 extra, 3 stale; the API holds 4 orders more than the tables have, which no deletion names; "+
		"5 orders changed too often to be compared; 1 order with a uid that no address can have",
		summary("verified", verified{Result: verify.Result{Checked: 9, Missing: 1, Extra: 2, Stale: 3, Unnamed: 4, Unsettled: 5, Unaskable: 1}, Took: time.Second}))
}
