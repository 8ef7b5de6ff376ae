// Package plot draws how figures grow, as SVG: small panels beside one another,
// over one logarithmic axis.
package plot

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Point is a figure at a place on the axis; both are positive.
type Point struct{ X, Y float64 }

// Series are points that a line joins, from left to right.
type Series struct {
	Name   string
	Points []Point
}

// Panel is a plot of few series.
type Panel struct {
	Title  string
	Series []Series
	Log    bool // the figures' axis is logarithmic too; else it begins at 0
}

const (
	width, height = 340.0, 240.0 // of a panel
	left, right   = 58.0, 14.0   // margins in it
	top, bottom   = 44.0, 34.0
	columns       = 3
)

var colors = []string{"#2563a8", "#c2571a", "#2f7d4f", "#7a4fa3"}

// SVG draws the panels over an axis of that name.
func SVG(axis string, panels []Panel) []byte {
	var b strings.Builder
	rows := (len(panels) + columns - 1) / columns
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="system-ui, sans-serif" font-size="11" fill="#333">`+"\n",
		columns*width, float64(rows)*height)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%.0f %.0f)">`+"\n", float64(i%columns)*width, float64(i/columns)*height)
		p.draw(&b, axis)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// scale maps values to places between from and to.
type scale struct {
	low, high, from, to float64
	log                 bool
}

func (s scale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.log {
		v, low, high = math.Log10(v), math.Log10(low), math.Log10(high)
	}
	return s.from + (v-low)/(high-low)*(s.to-s.from)
}

// ticks are round values in the scale.
func (s scale) ticks() (ticks []float64) {
	if s.log {
		for decade := math.Pow(10, math.Floor(math.Log10(s.low))); decade <= s.high*1.001; decade *= 10 {
			if decade >= s.low*0.999 {
				ticks = append(ticks, decade)
			}
		}
		return ticks
	}
	step := roundUp(s.high / 4)
	for v := 0.0; v <= s.high*1.001; v += step {
		ticks = append(ticks, v)
	}
	return ticks
}

// roundUp is the next number that begins with 1, 2 or 5 and ends in zeros.
func roundUp(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, first := range []float64{1, 2, 5} {
		if v <= first*decade*1.0001 {
			return first * decade
		}
	}
	return 10 * decade
}

func (p Panel) draw(b *strings.Builder, axis string) {
	x, y := p.scales()
	fmt.Fprintf(b, `<text x="%.0f" y="18" font-size="13" font-weight="600">%s</text>`+"\n", left, html.EscapeString(p.Title))
	for _, v := range y.ticks() {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#ddd"/>`, x.from, x.to, y.at(v), y.at(v))
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n", x.from-6, y.at(v)+4, short(v))
	}
	for _, v := range x.ticks() {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x.at(v), height-bottom+16, short(v))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n", x.to, height-6, html.EscapeString(axis))
	legend := left
	for i, s := range p.Series {
		color := colors[i%len(colors)]
		var line []string
		for _, point := range s.Points {
			line = append(line, fmt.Sprintf("%.1f,%.1f", x.at(point.X), y.at(point.Y)))
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, x.at(point.X), y.at(point.Y), color)
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.6"/>`+"\n", strings.Join(line, " "), color)
		if len(p.Series) > 1 {
			fmt.Fprintf(b, `<text x="%.0f" y="34" fill="%s">%s</text>`+"\n", legend, color, html.EscapeString(s.Name))
			legend += 14 + 5.5*float64(len(s.Name)) // about what the text takes
		}
	}
}

func (p Panel) scales() (x, y scale) {
	x = scale{low: math.Inf(1), from: left, to: width - right, log: true}
	y = scale{low: math.Inf(1), from: height - bottom, to: top, log: p.Log}
	for _, s := range p.Series {
		for _, point := range s.Points {
			x.low, x.high = min(x.low, point.X), max(x.high, point.X)
			y.low, y.high = min(y.low, point.Y), max(y.high, point.Y)
		}
	}
	if x.low == x.high {
		x.low, x.high = x.low/2, x.high*2
	}
	if p.Log {
		y.low, y.high = math.Pow(10, math.Floor(math.Log10(y.low))), math.Pow(10, math.Ceil(math.Log10(y.high)))
		if y.low == y.high {
			y.high *= 10
		}
	} else {
		step := roundUp(y.high / 4)
		y.low, y.high = 0, math.Ceil(y.high/step)*step
	}
	return x, y
}

// short writes a round number shortly: 20k, 3M.
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
