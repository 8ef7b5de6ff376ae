package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSVGIsWellFormed(t *testing.T) {
	svg := string(SVG("orders", []Panel{
		{Title: "a < b", Series: []Series{{Name: "one", Points: []Point{{1e4, 3}, {1e5, 5}, {1e6, 4.5}}}}},
		{Title: "sizes", Log: true, Series: []Series{
			{Name: "tables", Points: []Point{{1e4, 0.02}, {1e6, 2}}}, {Name: "indexes", Points: []Point{{1e4, 0.01}, {1e6, 1}}},
		}},
		{Title: "one point", Log: true, Series: []Series{{Points: []Point{{1e4, 10}}}}},
		{Title: "in the second row", Series: []Series{{Points: []Point{{2000, 1}}}}},
	}))
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	require.NotContains(t, svg, "NaN")
	require.NotContains(t, svg, "Inf")
	require.Contains(t, svg, "a &lt; b")
	require.Equal(t, 9, strings.Count(svg, "<circle"))
}

func TestScalesArePlacedRight(t *testing.T) {
	linear := scale{low: 0, high: 10, from: 100, to: 0}
	require.InDelta(t, 50, linear.at(5), 0.001)
	log := scale{low: 1, high: 100, from: 0, to: 10, log: true}
	require.InDelta(t, 5, log.at(10), 0.001)
	require.Equal(t, []float64{1, 10, 100}, log.ticks())
	require.InDelta(t, 5, roundUp(2.5), 0.001)
	require.InDelta(t, 10, roundUp(7), 0.001)
	require.InDelta(t, 200, roundUp(200), 0.001)
}

func TestShortNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.5: "0.5", 250: "250", 20_000: "20k", 3e6: "3M", 1e9: "1G"} {
		require.Equal(t, want, short(v))
	}
}
