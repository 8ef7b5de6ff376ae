package report

import (
	"math"
	"strconv"
)

// Column is a figure that a comparison shows of each contender: the median of the
// rounds or, with Ratio, the median of the rounds' ratios to the baseline.
type Column[S any] struct {
	Name   string
	Figure func(S) float64
	Format func(float64) string
	Ratio  bool
}

// Row is a contender with its samples, and those of the baseline, one each round.
type Row[S any] struct {
	Name          string
	Samples, Base []S
}

// Compare has a line for each row. A figure that was not measured (0, or a share of
// 0) is left empty.
func Compare[S any](title string, columns []Column[S], rows []Row[S]) string {
	t := Table{Title: title, Columns: []string{""}}
	for _, c := range columns {
		t.Columns = append(t.Columns, c.Name)
	}
	for _, row := range rows {
		cells := []string{row.Name}
		for _, c := range columns {
			value := MedianOf(row.Samples, c.Figure)
			if c.Ratio {
				value = RatioOf(row.Samples, row.Base, c.Figure)
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

// Samples are the measurements of contenders by their names, one each round.
type Samples[S any] map[string][]S

// Table compares contenders with the first of them.
func (m Samples[S]) Table(title string, columns []Column[S], names ...string) string {
	var rows []Row[S]
	for _, name := range names {
		rows = append(rows, Row[S]{name, m[name], m[names[0]]})
	}
	return Compare(title, columns, rows)
}

// Median is the median of a contender's figure.
func (m Samples[S]) Median(of string, figure func(S) float64) float64 { return MedianOf(m[of], figure) }

// Ratio is the median of the rounds' ratios of two contenders' figures.
func (m Samples[S]) Ratio(of, to string, figure func(S) float64) float64 {
	return RatioOf(m[of], m[to], figure)
}

// Decimals writes numbers with so many digits behind the point.
func Decimals(digits int) func(float64) string {
	return func(value float64) string { return strconv.FormatFloat(value, 'f', digits, 64) }
}
