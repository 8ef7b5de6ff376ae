package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/plotter"
)

func TestSVGIsWellFormed(t *testing.T) {
	drawn, err := drawSVG("orders", []panel{
		{Title: "a < b", curves: []curve{{Name: "one", Points: plotter.XYs{{X: 1e4, Y: 3}, {X: 1e5, Y: 5}, {X: 1e6, Y: 4.5}}}}},
		{Title: "sizes", Log: true, curves: []curve{
			{Name: "tables", Points: plotter.XYs{{X: 1e4, Y: 0.02}, {X: 1e6, Y: 2}}}, {Name: "indexes", Points: plotter.XYs{{X: 1e4, Y: 0.01}, {X: 1e6, Y: 1}}},
		}},
		{Title: "one point", Log: true, curves: []curve{{Points: plotter.XYs{{X: 1e4, Y: 10}}}}},
		{Title: "in the second row", curves: []curve{{Points: plotter.XYs{{X: 2000, Y: 1}}}}},
	})
	require.NoError(t, err)
	svg := string(drawn)
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
	points := strings.Count(svg, "fill:#2563A8") + strings.Count(svg, "fill:#C2571A")
	require.Equal(t, 9+2, points, "a circle for each point, and for each series of the legend")
}

func TestShortNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.5: "0.5", 250: "250", 20_000: "20k", 3e6: "3M", 1e9: "1G"} {
		require.Equal(t, want, short(v))
	}
}
