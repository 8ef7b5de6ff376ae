package dlqview

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

const (
	// wholeLines is how long a value may be to be shown whole. Of a longer one the
	// beginning is shown, and the lines around the failures.
	wholeLines = 200
	around     = 3
	// dumpBytes is how much is shown of a value that is no text.
	dumpBytes = 256
	dumpRow   = 16
	// window is how many bytes of a line of broken text are shown on each side of
	// the failure, so that it can be seen without scrolling.
	window = 60
	// deepest is how deep JSON may be nested to be indented.
	deepest = 100
)

// ShownValue is a value as it is shown: a remark, lines, or both.
type ShownValue struct {
	Note  string
	Lines []ShownLine
}

// ShownLine is a line of a value, with the failures that it has.
type ShownLine struct {
	Number int    // 0: none
	Gap    string // instead of the line: what is left out
	Tokens []Token
	Notes  []Note
}

// Token is a piece of a line and the class that colours it.
type Token = web.Token

// Note is a failure at a place in the line above it.
type Note struct{ Indent, Text string }

// ShowValue marks each failure in a value, which is masked already if it is to be.
// offset is the byte where reading stopped, -1 if it did not.
func ShowValue(value []byte, failures []model.FieldError, offset int64) ShownValue {
	switch {
	case value == nil:
		return ShownValue{Note: "The value is null, a tombstone."}
	case len(value) == 0:
		return ShownValue{Note: "The value is empty: it has no bytes."}
	case offset < 0 && isMarked(value):
		shown := ShowValue(value[len(model.ByteOrderMark):], failures, offset)
		shown.Note = "The value begins with a byte order mark (U+FEFF), which is ignored."
		return shown
	case offset < 0 && utf8.Valid(value) && json.Valid(value) && depth(value) <= deepest:
		return showJSON(value, failures)
	case mask.IsBinary(value):
		return showBytes(value, failures, offset)
	}
	return showText(value, failures, max(offset, 0))
}

// isMarked reports whether a value is JSON behind a byte order mark.
func isMarked(value []byte) bool {
	text, marked := bytes.CutPrefix(value, []byte(model.ByteOrderMark))
	return marked && json.Valid(text)
}

// Pretty indents a value that is JSON and not nested too deep.
func Pretty(value []byte) string {
	var indented bytes.Buffer
	if json.Valid(value) && depth(value) <= deepest && json.Indent(&indented, bytes.TrimSpace(value), "", "  ") == nil {
		return indented.String()
	}
	return string(value)
}

// depth is how deep JSON is nested.
func depth(value []byte) int {
	most, now := 0, 0
	for decoder := json.NewDecoder(bytes.NewReader(value)); ; {
		token, err := decoder.Token()
		if err != nil {
			return most
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			now++
			most = max(most, now)
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}

// showJSON indents JSON and points at the values that failed.
func showJSON(value []byte, failures []model.FieldError) ShownValue {
	indented := Pretty(value)
	lines := strings.Split(indented, "\n")
	notes := map[int][]Note{}
	for i, at := range model.Locate([]byte(indented), failures) {
		line, column := model.LineColumn([]byte(indented), at)
		message := failures[i].Message
		name := failures[i].Path[strings.LastIndexByte(failures[i].Path, '.')+1:]
		if name != "" && !strings.HasPrefix(strings.TrimLeft(lines[line-1], " "), `"`+name+`"`) {
			message = failures[i].String() // the field itself is missing
		}
		notes[line-1] = append(notes[line-1], noteAt(lines[line-1], column-1, message, failures[i].Rule))
	}
	var shown ShownValue
	left := 0
	for i, line := range lines {
		if len(lines) > wholeLines && i >= around && !noted(notes, i) {
			left++
			continue
		}
		shown.gap(left, " without failures")
		left = 0
		shown.Lines = append(shown.Lines, ShownLine{Number: i + 1, Tokens: jsonTokens(line), Notes: notes[i]})
	}
	shown.gap(left, " without failures")
	return shown
}

func (s *ShownValue) gap(lines int, where string) {
	if lines > 0 {
		s.Lines = append(s.Lines, ShownLine{Gap: Plural(lines, "line") + where})
	}
}

func noted(notes map[int][]Note, line int) bool {
	for i := line - around; i <= line+around; i++ {
		if len(notes[i]) > 0 {
			return true
		}
	}
	return false
}

// noteAt is a note below the rune of a line with that number, from 0.
func noteAt(line string, runes int, message, rule string) Note {
	before := string([]rune(line)[:min(runes, utf8.RuneCountInString(line))])
	if rule != "" {
		message += " [" + rule + "]"
	}
	return Note{strings.Repeat(" ", width(Clean(before))), Clean(message)}
}

// jsonTokens colours a line of indented JSON.
func jsonTokens(line string) []Token {
	tokens := web.JSONTokens(line)
	for i, token := range tokens {
		tokens[i].Text = Clean(token.Text)
		if token.Class != "" {
			tokens[i].Text = Shorten(tokens[i].Text)
		}
	}
	return tokens
}

// showText shows text that is no JSON, with a caret below the byte where that shows.
func showText(text []byte, failures []model.FieldError, offset int64) (shown ShownValue) {
	at := int(min(offset, int64(len(text))))
	start := bytes.LastIndexByte(text[:at], '\n') + 1
	end := len(text)
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		end = at + i
	}
	number, column := model.LineColumn(text, int64(at))
	if number > 1 {
		before := bytes.Split(text[:start-1], []byte("\n"))
		first := max(len(before)-around, 0)
		shown.gap(first, "")
		for i, line := range before[first:] {
			shown.Lines = append(shown.Lines, ShownLine{Number: first + i + 1, Tokens: []Token{{Text: cut(Clean(string(line)), 2*window)}}})
		}
	}
	from, to, head, tail := start, end, "", ""
	if at-from > window {
		from, head = at-window, "…"
		for from < at && !utf8.RuneStart(text[from]) {
			from++
		}
	}
	if to-at > window {
		to, tail = at+window, "…"
		for to > at && !utf8.RuneStart(text[to]) {
			to--
		}
	}
	before := head + Clean(string(text[from:at]))
	tokens := []Token{{Text: before}}
	if at < to {
		_, n := utf8.DecodeRune(text[at:to])
		tokens = append(tokens, Token{Class: "at", Text: Clean(string(text[at : at+n]))}, Token{Text: Clean(string(text[at+n:to])) + tail})
	}
	place := fmt.Sprintf("byte %d (line %d, column %d)", at, number, column)
	shown.Lines = append(shown.Lines, ShownLine{Number: number, Tokens: tokens, Notes: []Note{failureAt(before, place, failures)}})
	shown.gap(bytes.Count(text[end:], []byte("\n")), "")
	return shown
}

// failureAt is a note at the end of what is before it, with the first failure.
func failureAt(before, place string, failures []model.FieldError) Note {
	if len(failures) == 0 {
		return noteAt(before, len(before), place, "")
	}
	return noteAt(before, len(before), place+": "+failures[0].Message, failures[0].Rule)
}

// showBytes shows bytes in hex, from shortly before the one that is no text.
func showBytes(value []byte, failures []model.FieldError, offset int64) ShownValue {
	from := int(max(min(offset, int64(len(value)-1))-dumpBytes/2, 0)) / dumpRow * dumpRow
	to := min(from+dumpBytes, len(value))
	shown := ShownValue{Note: fmt.Sprintf("The value is not text. Bytes %d to %d of %d are shown in hex.", from, to-1, len(value))}
	for row := from; row < to; row += dumpRow {
		chunk := value[row:min(row+dumpRow, to)]
		digits := make([]string, len(chunk))
		characters := make([]byte, len(chunk))
		for i, c := range chunk {
			digits[i] = hex.EncodeToString(chunk[i : i+1])
			if characters[i] = c; c < 0x20 || c > 0x7e {
				characters[i] = '.'
			}
		}
		line := ShownLine{Tokens: []Token{
			{Class: "j-name", Text: fmt.Sprintf("%08x  ", row)},
			{Text: fmt.Sprintf("%-*s  ", 3*dumpRow-1, strings.Join(digits, " "))},
			{Class: "j-text", Text: string(characters)},
		}}
		if at := int(offset); at >= row && at < row+len(chunk) {
			line.Notes = []Note{failureAt(strings.Repeat(" ", 10+3*(at-row)), fmt.Sprintf("byte %d", at), failures)}
		}
		shown.Lines = append(shown.Lines, line)
	}
	return shown
}
