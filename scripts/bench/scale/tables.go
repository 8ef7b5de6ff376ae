package main

import (
	"bytes"
	"fmt"
	"image/color"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/orderhub/orderhub/scripts/internal/report"
)

const mebi, gibi = 1 << 20, 1 << 30

// growthTables have a row for each step.
func growthTables(s *settings, points []point) string {
	t := report.Table{Title: fmt.Sprintf("Orders of %d, as they become more", s.Items), Columns: []string{
		"orders", "ingest/s", "restore s", "reader MiB", "at most", "B/order", "reads/s", "p99 ms", "tables GiB", "indexes GiB", "B/order",
	}}
	lists := report.Table{Title: "Lists of 20 orders, ms", Columns: []string{"orders"}}
	for _, l := range points[0].lists {
		lists.Columns = append(lists.Columns, l.name+", p50", "p99")
	}
	for _, p := range points {
		r := p.reader
		t.Add(report.Thousands(p.orders), report.Thousands(int(p.ingest)), seconds(r.restore), report.Thousands(int(r.memory/mebi)), report.Thousands(int(r.peak/mebi)),
			report.Thousands(int(r.memory)/p.orders), report.Thousands(int(r.reads)), fmt.Sprintf("%.2f", r.p99),
			gibibytes(p.tables), gibibytes(p.indexes), report.Thousands(int(p.tables+p.indexes)/p.orders))
		row := []string{report.Thousands(p.orders)}
		for _, l := range p.lists {
			row = append(row, milliseconds(l, 0.5), milliseconds(l, 0.99))
		}
		lists.Add(row...)
	}
	return t.Markdown() + "\n" + lists.Markdown()
}

// panels are the same as a plot.
func panels(points []point) []panel {
	series := func(name string, get func(point) float64) curve {
		s := curve{Name: name}
		for _, p := range points {
			s.Points = append(s.Points, plotter.XY{X: float64(p.orders), Y: max(get(p), 1e-3)})
		}
		return s
	}
	lists := panel{Title: "lists, p99 ms"}
	for i, l := range points[0].lists {
		lists.curves = append(lists.curves, series(l.name, func(p point) float64 {
			return report.Percentile(p.lists[i].times, 0.99).Seconds() * 1000
		}))
	}
	lists.curves = lists.curves[:min(len(lists.curves), 3)]
	return []panel{
		{Title: "ingest, orders/s", curves: []curve{series("", func(p point) float64 { return p.ingest })}},
		{Title: "restore, s", Log: true, curves: []curve{series("", func(p point) float64 { return p.reader.restore.Seconds() })}},
		{Title: "reader's memory, MiB", Log: true, curves: []curve{
			series("when ready", func(p point) float64 { return float64(p.reader.memory) / mebi }),
			series("at most", func(p point) float64 { return float64(p.reader.peak) / mebi }),
		}},
		{Title: "reads/s", curves: []curve{series("", func(p point) float64 { return p.reader.reads })}},
		lists,
		{Title: "sizes, MiB", Log: true, curves: []curve{
			series("tables", func(p point) float64 { return float64(p.tables) / mebi }),
			series("indexes", func(p point) float64 { return float64(p.indexes) / mebi }),
		}},
	}
}

func ingested(p point) float64 { return p.ingest }
func resident(p point) float64 { return float64(p.reader.memory) / mebi }
func reads(p point) float64    { return p.reader.reads }

// triesTable has a row for each try, with medians of its rounds.
func triesTable(s *settings, tries report.Samples[point]) string {
	columns := []report.Column[point]{
		{Name: "ingest/s", Figure: ingested, Format: report.Thousands[float64]},
		{Name: "× as it is", Figure: ingested, Format: report.Decimals(2), Ratio: true},
		{Name: "restore s", Figure: func(p point) float64 { return p.reader.restore.Seconds() }, Format: report.Decimals(1)},
		{Name: "orders in memory", Figure: func(p point) float64 { return float64(p.reader.cached) }, Format: report.Thousands[float64]},
		{Name: "reader MiB", Figure: resident, Format: report.Thousands[float64]},
		{Name: "× as it is", Figure: resident, Format: report.Decimals(2), Ratio: true},
		{Name: "reads/s", Figure: reads, Format: report.Thousands[float64]},
		{Name: "× as it is", Figure: reads, Format: report.Decimals(2), Ratio: true},
		{Name: "p99 ms", Figure: func(p point) float64 { return p.reader.p99 }, Format: report.Decimals(2)},
	}
	return tries.Table(fmt.Sprintf("What comes next, tried with %s orders", report.Thousands(s.Small)), columns, plain, hashPartitions, compressed, budget, oneShard)
}

// furtherShards is into how many shards the orders are split for readers of one.
const furtherShards = 32

// furtherTable is arithmetic: what was measured an order, times very many.
func furtherTable(last point, tries report.Samples[point]) string {
	t := report.Table{Title: fmt.Sprintf("By what was measured at %s orders", report.Thousands(last.orders)), Columns: []string{
		"orders", "tables and indexes", "one reader's memory", "with zstd", fmt.Sprintf("and 1 of %d shards", furtherShards), "restore", "time to ingest them",
	}}
	zstd := tries.Ratio(compressed, plain, resident)
	for _, orders := range []float64{1e7, 1e8, 1e9} {
		times := orders / float64(last.orders)
		memory := float64(last.reader.memory) * times
		t.Add(report.Thousands(int(orders)),
			size(float64(last.tables+last.indexes)*times), size(memory), size(memory*zstd), size(memory*zstd/furtherShards),
			duration(last.reader.restore.Seconds()*times), duration(orders/last.ingest))
	}
	return t.Markdown()
}

func size(n float64) string {
	if n >= 1024*gibi {
		return fmt.Sprintf("%.1f TiB", n/1024/gibi)
	}
	return fmt.Sprintf("%.1f GiB", n/gibi)
}

func duration(s float64) string {
	switch {
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	case s < 7200:
		return fmt.Sprintf("%.0f min", s/60)
	}
	return fmt.Sprintf("%.1f h", s/3600)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

func gibibytes(n int64) string { return fmt.Sprintf("%.2f", float64(n)/gibi) }

func milliseconds(l list, share float64) string {
	return fmt.Sprintf("%.1f", report.Percentile(l.times, share).Seconds()*1000)
}

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
