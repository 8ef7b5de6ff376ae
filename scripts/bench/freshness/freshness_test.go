package freshness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

// courseOf has a reading each second: lag, with a thousand orders a second.
func courseOf(lags ...int64) (c course) {
	began := time.Now()
	for i, lag := range lags {
		sent := int64(10_000 + 1000*i)
		c = append(c, reading{at: began.Add(time.Duration(i) * time.Second), sent: sent, stored: sent, cached: sent - lag})
	}
	return c
}

func TestARateIsHeldWhereNothingPilesUp(t *testing.T) {
	for _, lags := range [][]int64{{0, 0, 0, 0, 0, 0}, {500, 300, 400, 500, 300, 450}, {400, 300, 400, 900, 300, 450}, {300, 0, 300, 0, 300, 0}} {
		require.True(t, courseOf(lags...).held(1000), lags)
	}
	for _, lags := range [][]int64{{0, 100, 200, 300, 400, 500}, {600, 600, 600, 600, 600, 600}} {
		require.False(t, courseOf(lags...).held(1000), lags)
	}
	slowly := make([]int64, 60) // 2 % of the orders
	for i := range slowly {
		slowly[i] = int64(20 * i)
	}
	require.False(t, courseOf(slowly...).held(1000), "in a minute even this is more than half a second's worth")
}

func TestTheHighestRateIsFoundFromAboveAndFromBelow(t *testing.T) {
	for _, about := range []float64{500, 990, 1000, 1001, 2000} {
		found := highest(about, 1.05, func(rate float64) bool { return rate <= 1000 })
		require.LessOrEqual(t, found, 1000.0, about)
		require.Greater(t, found, 950.0, about)
	}
	require.ErrorContains(t, must.Try(func() { highest(1000, 1.5, func(float64) bool { return false }) }), "no rate is held")
}

func TestCourseKnowsItsRates(t *testing.T) {
	c := courseOf(0, 100, 200)
	require.InDelta(t, 1000, c.sendRate(), 0.1)
	require.InDelta(t, 900, c.rate(), 0.1)
	require.InDelta(t, 100, c.meanLag(), 0.1)
}

func TestTextHasGoals(t *testing.T) {
	f := findings{
		Benchmark: &Benchmark{Preload: 1000, Share: 0.8, Steady: time.Minute},
		idle:      &latencies{readable: []time.Duration{5 * time.Millisecond}},
	}
	for i, found := range []time.Duration{101 * time.Millisecond, 90 * time.Millisecond, 99 * time.Millisecond} {
		f.rounds = append(f.rounds, loaded{
			latencies: &latencies{readable: []time.Duration{found}}, full: float64(1000 + i),
		})
	}
	text := f.latencies()
	require.Contains(t, text, "readable idle: p99 5.0 ms (goal: at most 25)")
	require.Contains(t, text, "at 80 % of the full load: p99 99.0 ms (goal: at most 250): the median of the rounds of 1m0s, 101.0 ms (full load 1,000/s), 90.0 ms (full load 1,001/s), 99.0 ms (full load 1,002/s)")
	require.Contains(t, text, "all answers were the cache's own")
	f.rounds[1].throughs = 2
	require.Contains(t, f.latencies(), "2 of the answers were not the cache's")
}
