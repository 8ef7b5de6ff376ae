package dlqview

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

const (
	// wholeLines is how long a value may be to be shown whole; of a longer one
	// the lines around the failures are.
	wholeLines = 200
	around     = 3
	// dumpBytes is how much is shown of what is no text.
	dumpBytes = 256
	// window is how many bytes of a long line are shown on each side of a fault.
	window = 60
)

// Value shows a letter's value with each failure below the line that it is
// about. offset is the byte where reading stopped, -1 if it did not.
func (s Style) Value(value []byte, failures []model.FieldError, offset int64, reveal bool) string {
	switch {
	case value == nil:
		return "  (null)\n"
	case len(value) == 0:
		return "  (no bytes)\n"
	case json.Valid(value) && utf8.Valid(value) && offset < 0:
		if !reveal {
			value = mask.Value(value)
		}
		return s.pretty(value, failures)
	case mask.IsBinary(value):
		return s.dump(value, offset, reveal)
	}
	if !reveal {
		value = mask.Text(value)
	}
	return s.broken(value, failures, offset)
}

// pretty indents JSON and points at the values that failed.
func (s Style) pretty(value []byte, failures []model.FieldError) string {
	var indented bytes.Buffer
	if json.Indent(&indented, bytes.TrimSpace(value), "", "  ") != nil {
		return ""
	}
	lines := strings.Split(indented.String(), "\n")
	notes := map[int][]string{}
	for i, place := range model.Locate(indented.Bytes(), failures) {
		line, column := model.LineColumn(indented.Bytes(), place)
		said := failures[i].Message
		if !strings.HasSuffix(strings.TrimSuffix(strings.Split(lines[line-1], ":")[0], `"`), failures[i].Path[strings.LastIndexByte(failures[i].Path, '.')+1:]) {
			said = failures[i].String() // the field itself is not there
		}
		notes[line-1] = append(notes[line-1], strings.Repeat(" ", column-1)+s.red(fmt.Sprintf("^ %s [%s]", Clean(said), Clean(failures[i].Rule))))
	}
	var b strings.Builder
	left := 0
	for i, line := range lines {
		if !near(i, len(lines), notes) {
			left++
			continue
		}
		if left > 0 {
			fmt.Fprintf(&b, "  %s\n", s.dim("… "+plural(left, "line")))
			left = 0
		}
		fmt.Fprintf(&b, "  %s\n", Clean(line))
		for _, note := range notes[i] {
			fmt.Fprintf(&b, "  %s\n", note)
		}
	}
	if left > 0 {
		fmt.Fprintf(&b, "  %s\n", s.dim("… "+plural(left, "line")))
	}
	return b.String()
}

// near says whether a line is to be shown.
func near(line, lines int, notes map[int][]string) bool {
	if lines <= wholeLines || line < around {
		return true
	}
	for i := line - around; i <= line+around; i++ {
		if len(notes[i]) > 0 {
			return true
		}
	}
	return false
}

// broken shows text that is no JSON, with a caret at the byte where that shows.
func (s Style) broken(text []byte, failures []model.FieldError, offset int64) string {
	var b strings.Builder
	said := ""
	if len(failures) > 0 {
		said = failures[0].Message
	}
	if offset < 0 {
		offset = 0
	}
	at := min(int(offset), len(text))
	start := bytes.LastIndexByte(text[:at], '\n') + 1
	end := len(text)
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		end = at + i
	}
	if before := bytes.Count(text[:start], []byte("\n")); before > 0 {
		shown := bytes.Split(text[:start-1], []byte("\n"))
		if skipped := len(shown) - around; skipped > 0 {
			fmt.Fprintf(&b, "  %s\n", s.dim("… "+plural(skipped, "line")))
			shown = shown[skipped:]
		}
		for _, line := range shown {
			fmt.Fprintf(&b, "  %s\n", cut(Clean(string(line)), 2*window))
		}
	}
	head, tail := "", ""
	if at-start > window {
		start, head = at-window, "…"
	}
	if end-at > window {
		end, tail = at+window, "…"
	}
	before := head + Clean(string(text[start:at]))
	fmt.Fprintf(&b, "  %s%s%s\n", before, Clean(string(text[at:end])), tail)
	line, column := model.LineColumn(text, int64(at))
	fmt.Fprintf(&b, "  %s%s\n", strings.Repeat(" ", width(before)), s.red(fmt.Sprintf("^ byte %d (line %d, column %d): %s", at, line, column, Clean(said))))
	if rest := bytes.Count(text[end:], []byte("\n")); rest > 0 {
		fmt.Fprintf(&b, "  %s\n", s.dim("… "+plural(rest, "line")))
	}
	return b.String()
}

// dump shows bytes in hex, from shortly before the one that is no text.
func (s Style) dump(value []byte, offset int64, reveal bool) string {
	note := ""
	if !reveal {
		value = mask.Binary(value)
		note = ", texts in them masked"
	}
	from := int(max(offset-dumpBytes/2, 0)) &^ 15
	to := min(from+dumpBytes, len(value))
	var b strings.Builder
	fmt.Fprintf(&b, "  %s\n", s.dim(fmt.Sprintf("bytes %d to %d of %d%s:", from, to-1, len(value), note)))
	for row := from; row < to; row += 16 {
		chunk := value[row:min(row+16, to)]
		text := strings.Map(func(r rune) rune {
			if r < 0x20 || r > 0x7e {
				return '.'
			}
			return r
		}, latin(chunk))
		fmt.Fprintf(&b, "  %08x  %-47s  |%s|\n", row, spaced(chunk), text)
		if at := int(offset); at >= row && at < row+len(chunk) {
			fmt.Fprintf(&b, "  %s%s\n", strings.Repeat(" ", 10+3*(at-row)), s.red(fmt.Sprintf("^ byte %d", at)))
		}
	}
	return b.String()
}

// latin takes each byte for a character.
func latin(data []byte) string {
	runes := make([]rune, len(data))
	for i, c := range data {
		runes[i] = rune(c)
	}
	return string(runes)
}

func spaced(data []byte) string {
	digits := make([]string, len(data))
	for i := range data {
		digits[i] = hex.EncodeToString(data[i : i+1])
	}
	return strings.Join(digits, " ")
}
