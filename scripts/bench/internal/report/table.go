// Package report writes what a benchmark found: as a table for a terminal, and
// into a marked section of a Markdown file.
package report

import (
	"fmt"
	"strings"
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
	line := func(row []string) {
		for i, cell := range row {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString("| " + cell + gap)
			} else {
				b.WriteString(" | " + gap + cell)
			}
		}
		b.WriteString(" |\n")
	}
	line(t.Columns)
	for i, width := range widths {
		if i == 0 {
			b.WriteString("| " + strings.Repeat("-", width))
		} else {
			b.WriteString(" | " + strings.Repeat("-", width-1) + ":")
		}
	}
	b.WriteString(" |\n")
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}
