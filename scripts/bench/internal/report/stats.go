package report

import (
	"math"
	"slices"
)

// Number is what can be measured.
type Number interface {
	~int | ~int64 | ~float64
}

// Median is the middle value, or the mean of the two in the middle; 0 of none.
func Median[N Number](values []N) N {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Percentile is the smallest value that at least share of the values (0 to 1)
// do not exceed; 0 of none.
func Percentile[N Number](values []N, share float64) N {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(share * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// MedianOf is the median of what get gives for each sample.
func MedianOf[S any, N Number](samples []S, get func(S) N) N {
	values := make([]N, len(samples))
	for i, s := range samples {
		values[i] = get(s)
	}
	return Median(values)
}

// RatioOf is the median of the rounds' ratios: the two measurements of a round
// ran next to each other, so what slowed the machine slowed both. Rounds that
// one of the two lacks are left out.
func RatioOf[S any](of, to []S, get func(S) float64) float64 {
	var ratios []float64
	for i := range min(len(of), len(to)) {
		if base := get(to[i]); base != 0 {
			ratios = append(ratios, get(of[i])/base)
		}
	}
	return Median(ratios)
}
