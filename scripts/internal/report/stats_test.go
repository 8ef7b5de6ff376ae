package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	require.Zero(t, Median[int](nil))
	require.Equal(t, 5, Median([]int{9, 5, 1}))
	require.InDelta(t, 2.5, Median([]float64{4, 1, 2, 3}), 0)
	values := []int{3, 1, 2}
	Median(values)
	require.Equal(t, []int{3, 1, 2}, values, "the caller's order stays")
}

func TestPercentile(t *testing.T) {
	var values []time.Duration
	for i := range 100 {
		values = append(values, time.Duration(100-i))
	}
	require.Equal(t, time.Duration(50), Percentile(values, 0.5))
	require.Equal(t, time.Duration(99), Percentile(values, 0.99))
	require.Equal(t, time.Duration(100), Percentile(values, 1))
	require.Equal(t, time.Duration(1), Percentile(values, 0))
	require.Zero(t, Percentile[int](nil, 0.5))
}

func TestRatioIsOfRounds(t *testing.T) {
	same := func(v float64) float64 { return v }
	// The machine was three times slower in the second round: the ratio is the same.
	require.InDelta(t, 0.5, RatioOf([]float64{50, 20, 51}, []float64{100, 40, 100}, same), 0.001)
	require.InDelta(t, 0.5, RatioOf([]float64{50, 7}, []float64{100, 0, 9}, same), 0)
	require.Zero(t, RatioOf(nil, nil, same))
}

func TestMedianOf(t *testing.T) {
	type run struct{ rate float64 }
	require.InDelta(t, 2, MedianOf([]run{{3}, {1}, {2}}, func(r run) float64 { return r.rate }), 0)
}
