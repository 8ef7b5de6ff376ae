package dlqview

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/web"
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
		Key: string(mask.All(l.SourceKey)), FailedAt: l.FailedAt.UTC(), RedriveCount: l.Redrives, Size: l.Size(), TraceID: l.TraceID(),
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

// FactColumns are the names of Facts.
var FactColumns = []string{
	"id", "status", "reason", "stage", "rules", "paths", "failed_at", "source_topic", "source_partition", "source_offset", "source_timestamp", "key",
	"redrive_count", "origin", "size", "format", "resolution", "by", "when", "why", "became", "edited",
}

// Facts are what is known of a letter, for CSV, without its value and without personal data.
func Facts(item *dlq.Item) []string {
	l := LineOf(&item.Letter, item.Ref.Status)
	var rules, paths []string
	for _, e := range l.Errors {
		if e.Rule != "" && !slices.Contains(rules, e.Rule) {
			rules = append(rules, e.Rule)
		}
		if e.Path != "" && !slices.Contains(paths, e.Path) {
			paths = append(paths, e.Path)
		}
	}
	row := []string{l.ID, string(l.Status), l.Reason, l.Stage, strings.Join(rules, " "), strings.Join(paths, " "), stamp(l.FailedAt)}
	if item.Source.Topic == "" {
		row = append(row, "", "", "")
	} else {
		row = append(row, mask.Label(item.Source.Topic), strconv.Itoa(int(item.Source.Partition)), strconv.FormatInt(item.Source.Offset, 10))
	}
	row = append(row, stamp(item.SourceTimestamp), l.Key, strconv.Itoa(l.RedriveCount), mask.ID(item.Origin), strconv.FormatInt(l.Size, 10), string(item.Format))
	if r := ResolutionOf(item.Resolution); r != nil {
		row = append(row, r.Kind, r.By, stamp(r.When), r.Why, r.Became, strconv.FormatBool(r.Edited))
	} else {
		row = append(row, "", "", "", "", "", "")
	}
	for i := range row {
		row[i] = web.Cell(row[i])
	}
	return row
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// FileName is a name for a file with a letter's value. An id that somebody else chose
// cannot lead out of a folder, and no two ids have the same name.
func FileName(l *letter.Letter) string {
	name := strings.ReplaceAll(l.ID, "/", "_")
	if mask.ID(l.ID) != l.ID || strings.Contains(l.ID, "_") || strings.HasPrefix(name, ".") {
		sum := sha256.Sum256([]byte(l.ID))
		name = "letter-" + hex.EncodeToString(sum[:16])
	}
	switch {
	case l.Value == nil:
		return name + ".null"
	case json.Valid(l.Value):
		return name + ".json"
	}
	return name + ".bin"
}

var blocks = []rune(" ▁▂▃▄▅▆▇█")

// MaskStats masks what counts of letters hold of records: names of fields, and what
// letters of foreign form give as reason.
func MaskStats(s *dlq.Stats) {
	for _, c := range s.Causes {
		c.Reason, c.Rule, c.Path = MaskCause(c.Reason, c.Rule, c.Path)
		c.Sample = mask.ID(c.Sample)
	}
	s.ByReason, s.OpenByReason = masked(s.ByReason), masked(s.OpenByReason)
	s.ByRule = masked(s.ByRule)
}

// masked joins the counts of names that look the same once they are masked by
// keeping one of them.
func masked[N any](counts map[string]N) map[string]N {
	shown := make(map[string]N, len(counts))
	for name, n := range counts {
		shown[mask.Label(name)] = n
	}
	return shown
}

// maxCauses is how many causes people are shown.
const maxCauses = 20

// A table counts letters by what they have in common.
type table struct {
	Title string
	Rows  []tableRow // that with most letters first
}

type tableRow struct {
	Name string
	dlq.Count
}

func tableOf(title string, counts map[string]dlq.Count) table {
	t := table{Title: title}
	for name, n := range counts {
		t.Rows = append(t.Rows, tableRow{name, n})
	}
	slices.SortFunc(t.Rows, func(a, b tableRow) int {
		return cmp.Or(cmp.Compare(b.Total(), a.Total()), cmp.Compare(a.Name, b.Name))
	})
	return t
}

// ShowStats writes counts for people.
func ShowStats(w io.Writer, style Style, s *dlq.Stats) error {
	reasons := map[string]dlq.Count{}
	for reason, n := range s.ByReason {
		reasons[reason] = dlq.Count{Open: s.OpenByReason[reason], Resolved: n - s.OpenByReason[reason]}
	}
	shown := struct {
		*dlq.Stats
		Tables []table
		Bars   string
		Span   time.Duration
		Most   int
		Causes []*dlq.Cause
		More   int
	}{Stats: s, Tables: []table{tableOf("Reason", reasons), tableOf("Rule", s.ByRule), tableOf("Source", s.ByPartition)}}
	const bars = 60
	if counts, span := s.Histogram(bars); counts != nil {
		shown.Span, shown.Most = span.Round(time.Millisecond), slices.Max(counts)
		for _, n := range counts {
			level := 0
			if n > 0 {
				level = 1 + n*(len(blocks)-2)/shown.Most
			}
			shown.Bars += string(blocks[level])
		}
	}
	shown.Causes = s.Causes[:min(len(s.Causes), maxCauses)]
	shown.More = len(s.Causes) - len(shown.Causes)
	return style.Write(w, "stats.txt", shown)
}
