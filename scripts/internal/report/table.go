// Package report writes what a benchmark found: as a table for a terminal, and
// into a marked section of a Markdown file.
package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Table is a heading and rows of as many cells. The first column is text, the
// others are numbers and are aligned to the right.
type Table struct {
	Title   string
	Columns []string
	rows    [][]string
}

// Add appends a row; a cell too few or too many is a mistake in the program.
func (t *Table) Add(cells ...string) {
	if len(cells) != len(t.Columns) {
		panic(fmt.Sprintf("report: %d cells in a table of %d columns", len(cells), len(t.Columns)))
	}
	t.rows = append(t.rows, cells)
}

// Markdown is the table as GitHub reads it, padded so that it can be read as it
// stands as well.
func (t *Table) Markdown() string {
	widths := make([]int, len(t.Columns))
	for _, row := range append([][]string{t.Columns}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var b strings.Builder
	if t.Title != "" {
		fmt.Fprintf(&b, "**%s**\n\n", t.Title)
	}
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width-1) + ":"
	}
	rule[0] = strings.Repeat("-", widths[0])
	for _, row := range append([][]string{t.Columns, rule}, t.rows...) {
		fmt.Fprintf(&b, "| %-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(&b, " | %*s", widths[i+1], cell)
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// Chart is a line over names in Mermaid's language, which GitHub draws.
func Chart(title string, names []string, figures []float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "```mermaid\nxychart-beta\n  title %q\n  x-axis [%s]\n  y-axis 0 --> %.0f\n  line [", title, `"`+strings.Join(names, `", "`)+`"`, slices.Max(figures)*1.1)
	for i, figure := range figures {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.FormatFloat(figure, 'f', 1, 64))
	}
	b.WriteString("]\n```\n")
	return b.String()
}

// Bars is a chart of a bar for each name, as SVG.
func Bars(title string, names []string, figures []float64) string {
	const row, left, longest, right = 28, 400, 480, 100
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"14\">\n"+
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n<text x=\"10\" y=\"22\" font-weight=\"bold\">%s</text>\n",
		left+longest+right, row*(len(names)+2), html.EscapeString(title))
	for i, name := range names {
		y, width := row*(i+1)+12, longest*figures[i]/slices.Max(figures)
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text><rect x=\"%d\" y=\"%d\" width=\"%.0f\" height=\"%d\" fill=\"#4477aa\"/><text x=\"%.0f\" y=\"%d\">%s</text>\n",
			left-10, y+16, html.EscapeString(name), left, y, width, row-6, left+width+8, y+16, Thousands(figures[i]))
	}
	return b.String() + "</svg>\n"
}

// Column is a figure that a comparison shows of each contender: the median of the
// rounds or, with Ratio, the median of the rounds' ratios to the baseline.
type Column[S any] struct {
	Name   string
	Figure func(S) float64
	Format func(float64) string
	Ratio  bool
}

// Samples are the measurements of contenders by their names, one each round.
type Samples[S any] map[string][]S

// Table has a line for each contender, compared with the first of them. A figure that was
// not measured (0, or a share of 0) is left empty.
func (m Samples[S]) Table(title string, columns []Column[S], names ...string) string {
	t := Table{Title: title, Columns: []string{""}}
	for _, c := range columns {
		t.Columns = append(t.Columns, c.Name)
	}
	for _, name := range names {
		cells := []string{name}
		for _, c := range columns {
			value := m.Median(name, c.Figure)
			if c.Ratio {
				value = m.Ratio(name, names[0], c.Figure)
			}
			cell := ""
			if value != 0 && !math.IsNaN(value) {
				cell = c.Format(value)
			}
			cells = append(cells, cell)
		}
		t.Add(cells...)
	}
	return t.Markdown()
}

// Median is the median of a contender's figure.
func (m Samples[S]) Median(of string, figure func(S) float64) float64 { return MedianOf(m[of], figure) }

// Ratio is the median of the rounds' ratios of two contenders' figures.
func (m Samples[S]) Ratio(of, to string, figure func(S) float64) float64 {
	return RatioOf(m[of], m[to], figure)
}

// Milliseconds writes a duration with so many digits behind the point.
func Milliseconds(d time.Duration, digits int) string {
	return strconv.FormatFloat(d.Seconds()*1000, 'f', digits, 64)
}

// Latencies are the 50th and the 99th percentile and the longest of durations, in milliseconds.
func Latencies(of []time.Duration, digits int) (cells []string) {
	for _, share := range []float64{0.5, 0.99, 1} {
		cells = append(cells, Milliseconds(Percentile(of, share), digits))
	}
	return cells
}

// Decimals writes numbers with so many digits behind the point.
func Decimals(digits int) func(float64) string {
	return func(value float64) string { return strconv.FormatFloat(value, 'f', digits, 64) }
}

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

// Thousands writes a number rounded to a whole one, with its thousands apart.
func Thousands[N ~int | ~int64 | ~float64](n N) string {
	digits := strconv.FormatFloat(float64(n), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
