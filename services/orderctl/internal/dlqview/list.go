package dlqview

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// Line is what a list says of a letter.
type Line struct {
	ID           string             `json:"id"`
	Status       letter.Status      `json:"status"`
	Reason       string             `json:"reason"`
	Stage        string             `json:"stage"`
	Errors       []model.FieldError `json:"errors"`
	Key          string             `json:"key"`
	FailedAt     time.Time          `json:"failed_at"`
	RedriveCount int                `json:"redrive_count"`
	Size         int64              `json:"size"`
	Topic        string             `json:"topic,omitempty"`    // of a letter that another system wrote
	TraceID      string             `json:"trace_id,omitempty"` // of the record, if its producer sampled it
}

// LineOf makes a letter's line, with personal data masked.
func LineOf(l *letter.Letter, status letter.Status) Line {
	topic := ""
	if l.Format != letter.Orderhub {
		topic = mask.Label(l.Place.Topic)
	}
	return Line{
		ID: mask.ID(l.ID), Topic: topic, Status: status, Reason: mask.Label(l.Reason), Stage: mask.Label(l.Stage), Errors: mask.Errors(l.Errors()),
		Key: string(mask.Key(l.SourceKey)), FailedAt: l.FailedAt.UTC(), RedriveCount: l.Redrives, Size: l.Size(), TraceID: l.TraceID(),
	}
}

// keyText shows bytes that are no text in hex.
func keyText(key []byte) string {
	if text := string(key); strings.ToValidUTF8(text, "") == text {
		return text
	}
	return Clean(string(key))
}

// Table writes letters in columns, as they come. The widths are those of what
// comes first, so that it works for an endless list too.
type Table struct {
	w      io.Writer
	style  Style
	widths []int
	topics bool // the column of topics is shown
}

// NewTable returns a table that has written nothing yet.
func NewTable(w io.Writer, style Style) *Table { return &Table{w: w, style: style} }

const idColumn = 0

var tableHead = []string{"ID", "TOPIC", "FAILED AT", "STATUS", "REASON", "REDRIVES", "KEY", "FAILURE"}

// Write adds rows. The first call decides on the columns.
func (t *Table) Write(lines []Line) error {
	if t.widths == nil {
		t.topics = slices.ContainsFunc(lines, func(l Line) bool { return l.Topic != "" })
	}
	rows := make([][]string, len(lines))
	for i, l := range lines {
		rows[i] = t.columns(cells(l))
	}
	var b strings.Builder
	if t.widths == nil {
		t.fit(rows)
		t.row(&b, t.columns(tableHead), t.style.bold)
	}
	for i, row := range rows {
		paint := t.style.yellow
		if lines[i].Status == letter.Resolved {
			paint = t.style.green
		}
		t.row(&b, row, func(cell string) string {
			if strings.TrimSpace(cell) == string(lines[i].Status) {
				return paint(cell)
			}
			return cell
		})
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}

func cells(l Line) []string {
	failure := ""
	if len(l.Errors) > 0 {
		failure = l.Errors[0].String()
		if n := len(l.Errors) - 1; n > 0 {
			failure = fmt.Sprintf("%s (+%d)", failure, n)
		}
	}
	row := []string{l.ID, l.Topic, l.FailedAt.Format("2006-01-02 15:04:05"), string(l.Status), l.Reason, fmt.Sprint(l.RedriveCount), l.Key, failure}
	for i := range row {
		row[i] = Clean(row[i])
	}
	return row
}

// columns leaves the topic out where it is not shown.
func (t *Table) columns(row []string) []string {
	if t.topics {
		return row
	}
	return append(row[:1:1], row[2:]...)
}

// fit gives each column what it needs, and the last ones what is left of the
// terminal. The id is never cut: it is there to be copied.
func (t *Table) fit(rows [][]string) {
	head := t.columns(tableHead)
	t.widths = make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], width(cell))
		}
	}
	if t.style.Width == 0 {
		return
	}
	left := t.style.Width
	for i := range t.widths {
		if i != idColumn {
			most := t.widths[i]
			if i == len(t.widths)-2 {
				most = min(most, 20) // the key leaves room for the failure
			}
			t.widths[i] = max(min(most, left-2), 0)
			left -= 2
		}
		left -= t.widths[i]
	}
}

func (t *Table) row(b *strings.Builder, row []string, paint func(string) string) {
	var line strings.Builder
	for i, cell := range row {
		if i > 0 {
			if t.widths[i] == 0 {
				break // no room for more
			}
			line.WriteString("  ")
		}
		if i != idColumn {
			cell = cut(cell, t.widths[i])
		}
		if i < len(row)-1 {
			cell = padded(cell, t.widths[i])
		}
		line.WriteString(paint(cell))
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}
