package dlqview

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// Facts writes what is known of letters as CSV, without their values and without
// personal data.
type Facts struct {
	w     *csv.Writer
	begun bool
}

// NewFacts returns a Facts.
func NewFacts(w io.Writer) *Facts { return &Facts{w: csv.NewWriter(w)} }

var factColumns = []string{
	"id", "status", "reason", "stage", "rules", "paths", "failed_at", "source_topic", "source_partition", "source_offset", "source_timestamp", "key",
	"redrive_count", "origin", "size", "format", "resolution", "by", "when", "why", "became", "edited",
}

// Write adds a letter.
func (f *Facts) Write(item *dlq.Item) error {
	if err := f.head(); err != nil {
		return err
	}
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
		row[i] = cell(row[i])
	}
	return f.w.Write(row)
}

func (f *Facts) head() error {
	if f.begun {
		return nil
	}
	f.begun = true
	return f.w.Write(factColumns)
}

// Flush writes what is not written yet.
func (f *Facts) Flush() error {
	f.w.Flush()
	return f.w.Error()
}

// cell keeps a text from being taken for a formula by programs that open CSV.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
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
