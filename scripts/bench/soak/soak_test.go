package soak

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// series makes samples in which all figures are steady but one.
func series(which int, values ...float64) (s samples) {
	for _, v := range values {
		one := make(sample, len(figures))
		for i := range one {
			one[i] = 100 * mebi
		}
		one[which] = v
		s = append(s, one)
	}
	return s
}

func TestWhatGrowsFails(t *testing.T) {
	// Goroutines, which leak.
	grown := series(2, 10, 20, 30, 40, 50, 60, 70, 80, 90).judge(false)
	err := failures(grown)
	require.ErrorContains(t, err, "worker, goroutines grew from 20 to 80")
	require.NotContains(t, err.Error(), "reader")
	// Memory, which a short run can't tell.
	leak := series(0, 100*mebi, 120*mebi, 140*mebi, 160*mebi, 180*mebi, 200*mebi)
	require.NoError(t, failures(leak.judge(false)))
	require.ErrorContains(t, failures(leak.judge(true)), "worker, resident MiB grew from 110.0 to 190.0")
}

func TestSawteethAndWarmingUpAreFlat(t *testing.T) {
	values := []float64{500 * mebi} // before pools had settled
	for range 9 {
		values = append(values, 100*mebi, 120*mebi, 140*mebi)
	}
	require.NoError(t, failures(series(0, values...).judge(true)))
	require.NoError(t, failures(series(11, 0, 90_000, 10_000, 95_000, 0, 90_000, 5_000, 94_000, 20_000).judge(true)))
}
