package main

import (
	"bytes"
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// curve is points that a line joins, from left to right. Their coordinates are
// positive.
type curve struct {
	Name   string
	Points plotter.XYs
}

// panel is a plot of few series.
type panel struct {
	Title  string
	curves []curve
	Log    bool // the figures' axis is logarithmic too; else it begins at 0
}

const (
	width, height = 255, 180 // of a panel, in points
	columns       = 3
)

var colors = []color.Color{
	color.RGBA{0x25, 0x63, 0xa8, 0xff}, color.RGBA{0xc2, 0x57, 0x1a, 0xff}, color.RGBA{0x2f, 0x7d, 0x4f, 0xff}, color.RGBA{0x7a, 0x4f, 0xa3, 0xff},
}

// drawSVG draws the panels over an axis of that name.
func drawSVG(axis string, panels []panel) ([]byte, error) {
	rows := (len(panels) + columns - 1) / columns
	canvas := vgsvg.New(columns*width, vg.Length(rows*height))
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: 12, PadY: 12, PadTop: 6, PadBottom: 6, PadLeft: 6, PadRight: 12}
	grid := make([][]*plot.Plot, rows)
	for i := range rows * columns {
		var drawn *plot.Plot
		if i < len(panels) {
			var err error
			if drawn, err = panels[i].draw(axis); err != nil {
				return nil, err
			}
		}
		grid[i/columns] = append(grid[i/columns], drawn)
	}
	for row, areas := range plot.Align(grid, tiles, draw.New(canvas)) {
		for column, area := range areas {
			if drawn := grid[row][column]; drawn != nil {
				drawn.Draw(area)
			}
		}
	}
	var out bytes.Buffer
	_, err := canvas.WriteTo(&out)
	return out.Bytes(), err
}

func (p panel) draw(axis string) (*plot.Plot, error) {
	drawn := plot.New()
	drawn.Title.Text, drawn.X.Label.Text = p.Title, axis
	drawn.Legend.Top, drawn.Legend.Left = true, true
	drawn.Add(plotter.NewGrid())
	for i, s := range p.curves {
		line, points, err := plotter.NewLinePoints(s.Points)
		if err != nil {
			return nil, err
		}
		line.Color, points.Color, points.Shape = colors[i%len(colors)], colors[i%len(colors)], draw.CircleGlyph{}
		drawn.Add(line, points)
		if len(p.curves) > 1 {
			drawn.Legend.Add(s.Name, line, points)
		}
	}
	logarithmic(&drawn.X)
	if p.Log {
		logarithmic(&drawn.Y)
	} else {
		drawn.Y.Min = 0
		drawn.Y.Tick.Marker = ticks{plot.DefaultTicks{}}
	}
	return drawn, nil
}

func logarithmic(a *plot.Axis) {
	if a.Min == a.Max { // a single point
		a.Min, a.Max = a.Min/2, a.Max*2
	}
	a.Scale, a.Tick.Marker = plot.LogScale{}, ticks{plot.LogTicks{}}
}

// ticks writes round numbers shortly: 20k, 3M.
type ticks struct{ plot.Ticker }

func (t ticks) Ticks(low, high float64) []plot.Tick {
	marks := t.Ticker.Ticks(low, high)
	for i, mark := range marks {
		if mark.Label != "" {
			marks[i].Label = short(mark.Value)
		}
	}
	return marks
}

func short(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size {
			return strconv.FormatFloat(v/unit.size, 'g', 4, 64) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
