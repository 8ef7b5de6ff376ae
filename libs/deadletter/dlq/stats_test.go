package dlq

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestCausesOverTime(t *testing.T) {
	price := &Group{GroupKey: GroupKey{Reason: "invalid", SourceTopic: "orders"}, Causes: []letter.Failure{{Rule: "min", Path: "items[].price"}, {Rule: "min", Path: "items[].sale"}}}
	broken := &Group{GroupKey: GroupKey{Reason: "not_json"}, Causes: []letter.Failure{{}}}
	at := func(hours int, g *Group, status letter.Status) Ref {
		return Ref{Group: g, FailedAt: noon.Add(time.Duration(hours) * time.Hour), Place: letter.Place{Offset: int64(hours)}, Status: status}
	}
	refs := []Ref{at(3, price, letter.Open), at(-30, price, letter.Resolved), at(0, broken, letter.Open), at(9, price, letter.Open), at(12, price, letter.Open)}
	for range 2 { // in any order
		s := StatsOf(Each(refs, letter.Any), StatsOptions{NewSince: noon, Bars: 3, From: noon, Until: noon.Add(12 * time.Hour)})
		require.Equal(t, Count{4, 1}, s.Count)
		require.Equal(t, map[string]Count{"min": {3, 1}}, s.ByRule, "a letter counts once under a rule")
		require.Equal(t, map[string]Count{"orders/0": {3, 1}}, s.ByPartition)
		require.Len(t, s.Causes, 3)
		c := s.Causes[0]
		require.Equal(t, []any{"invalid", "min", "items[].price", Count{3, 1}, 3, []int{1, 0, 1}, int64(12)}, []any{c.Reason, c.Rule, c.Path, c.Count, c.New, c.Curve, c.Newest.Place.Offset})
		require.Equal(t, []time.Time{noon.Add(-30 * time.Hour), noon.Add(12 * time.Hour)}, []time.Time{c.First, c.Last})
		counts, span := s.Histogram(2)
		require.Equal(t, []int{1, 4}, counts)
		require.InDelta(t, 21*time.Hour, span, float64(time.Second))
		slices.Reverse(refs)
	}
	none := StatsOf(Each(nil, letter.Any), StatsOptions{Bars: 3})
	counts, _ := none.Histogram(3)
	require.Empty(t, counts)
	require.Empty(t, none.Causes)
}
