package console

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

const (
	// wholeLines is how long a value may be to be shown whole; of a longer one
	// the beginning and the lines around the failures are.
	wholeLines = 400
	firstLines = 40
	around     = 4
	// longestText is how much of a line is shown.
	longestText = 400
	// beforeFault and afterFault are how many bytes of a line of broken text are shown on
	// each side of the fault: it is to be seen without scrolling.
	beforeFault = 60
	afterFault  = 300
	// dumpBytes is how much is shown of what is no text.
	dumpBytes = 512
	dumpRow   = 16
	// deepest is how deep JSON may be nested to be indented.
	deepest = 100
)

// shownValue is a value as the page shows it.
type shownValue struct {
	Lines []shownLine
	// Note says what is not to be seen.
	Note string
}

// shownLine is a line of a value, and what is wrong with it.
type shownLine struct {
	Number int    // 0: none
	Gap    string // instead of the line: what is left out
	Tokens []token
	Notes  []note
}

// token is a piece of text and the class that colours it.
type token struct{ Class, Text string }

// note is what is wrong at a place of the line above it.
type note struct{ Indent, Text string }

// showValue marks each failure in a value. offset is the byte where reading
// stopped, -1 if it did not. The value is masked already if it is to be.
func showValue(value []byte, failures []model.FieldError, offset int64) shownValue {
	switch {
	case value == nil:
		return shownValue{Note: "The value is null, a tombstone."}
	case len(value) == 0:
		return shownValue{Note: "The value is empty: it has no bytes."}
	case offset < 0 && utf8.Valid(value) && json.Valid(value) && depth(value) <= deepest:
		return showJSON(value, failures)
	case mask.IsBinary(value):
		return showBytes(value, failures, offset)
	}
	return showText(value, failures, offset)
}

// depth is how deep JSON is nested.
func depth(value []byte) int {
	most, now, inText := 0, 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{', c == '[':
			now++
			most = max(most, now)
		case c == '}', c == ']':
			now--
		}
	}
	return most
}

func showJSON(value []byte, failures []model.FieldError) shownValue {
	var indented bytes.Buffer
	if json.Indent(&indented, bytes.TrimSpace(value), "", "  ") != nil {
		return showText(value, failures, 0)
	}
	lines := strings.Split(indented.String(), "\n")
	notes := map[int][]note{}
	for i, at := range model.Locate(indented.Bytes(), failures) {
		line, column := model.LineColumn(indented.Bytes(), at)
		said := failures[i].Message
		name := failures[i].Path[strings.LastIndexByte(failures[i].Path, '.')+1:]
		if name != "" && !strings.HasPrefix(strings.TrimLeft(lines[line-1], " "), `"`+name+`"`) {
			said = failures[i].String() // the field itself is not there
		}
		notes[line-1] = append(notes[line-1], note{indentTo(lines[line-1], column-1), clean(said) + ruleText(failures[i])})
	}
	var shown shownValue
	left := 0
	for i, line := range lines {
		if len(lines) > wholeLines && i >= firstLines && !noted(notes, i) {
			left++
			continue
		}
		shown.gap(&left)
		shown.Lines = append(shown.Lines, shownLine{Number: i + 1, Tokens: jsonTokens(line), Notes: notes[i]})
	}
	shown.gap(&left)
	return shown
}

func (s *shownValue) gap(left *int) {
	if *left > 0 {
		s.Lines = append(s.Lines, shownLine{Gap: plural(*left, "line") + " without failures"})
		*left = 0
	}
}

func noted(notes map[int][]note, line int) bool {
	for i := line - around; i <= line+around; i++ {
		if len(notes[i]) > 0 {
			return true
		}
	}
	return false
}

func ruleText(f model.FieldError) string {
	if f.Rule == "" {
		return ""
	}
	return " (" + clean(f.Rule) + ")"
}

// indentTo is as wide as the first runes of a line are shown.
func indentTo(line string, runes int) string {
	for i := range line {
		if runes == 0 {
			line = line[:i]
			break
		}
		runes--
	}
	return strings.Repeat(" ", uniseg.StringWidth(clean(line)))
}

// jsonTokens colours a line of indented JSON.
func jsonTokens(line string) []token {
	rest := strings.TrimLeft(line, " ")
	tokens := []token{{Text: line[:len(line)-len(rest)]}}
	for rest != "" {
		end := strings.IndexAny(rest, "{}[]:, ")
		switch {
		case rest[0] == '"':
			end = textEnd(rest)
			class := "j-text"
			if strings.HasPrefix(rest[end:], ":") {
				class = "j-name"
			}
			tokens = append(tokens, token{class, shorten(clean(rest[:end]))})
		case end == 0:
			end = len(rest) - len(strings.TrimLeft(rest, "{}[]:, "))
			tokens = append(tokens, token{Text: rest[:end]})
		default:
			if end < 0 {
				end = len(rest)
			}
			class := "j-word"
			if c := rest[0]; c == '-' || c >= '0' && c <= '9' {
				class = "j-number"
			}
			tokens = append(tokens, token{class, shorten(clean(rest[:end]))})
		}
		rest = rest[end:]
	}
	return tokens
}

// textEnd is where the text ends with which a line begins.
func textEnd(line string) int {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(line)
}

func shorten(text string) string {
	if len(text) <= longestText {
		return text
	}
	cut := longestText
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes more)", text[:cut], len(text)-cut)
}

// showText shows text that can't be read as JSON, with a caret at the byte where
// that shows.
func showText(text []byte, failures []model.FieldError, offset int64) shownValue {
	at := int(min(max(offset, 0), int64(len(text))))
	start := bytes.LastIndexByte(text[:at], '\n') + 1
	end := len(text)
	if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
		end = at + i
	}
	var shown shownValue
	line := bytes.Count(text[:start], []byte("\n")) + 1
	if before := bytes.Split(text[:start], []byte("\n")); line > 1 {
		before = before[:len(before)-1]
		first := max(len(before)-around, 0)
		if first > 0 {
			shown.Lines = append(shown.Lines, shownLine{Gap: plural(first, "line")})
		}
		for i, l := range before[first:] {
			shown.Lines = append(shown.Lines, shownLine{Number: first + i + 1, Tokens: []token{{Text: shorten(clean(string(l)))}}})
		}
	}
	head, tail := "", ""
	from, to := start, end
	if at-from > beforeFault {
		from, head = at-beforeFault, "…"
		for from < at && !utf8.RuneStart(text[from]) {
			from++
		}
	}
	if to-at > afterFault {
		to, tail = at+afterFault, "…"
		for to > at && !utf8.RuneStart(text[to]) {
			to--
		}
	}
	before := head + clean(string(text[from:at]))
	tokens := []token{{Text: before}}
	if at < to {
		_, n := utf8.DecodeRune(text[at:to])
		tokens = append(tokens, token{"at", clean(string(text[at : at+n]))}, token{Text: clean(string(text[at+n:to])) + tail})
	}
	marked := shownLine{Number: line, Tokens: tokens}
	if offset >= 0 {
		said := fmt.Sprintf("byte %d", at)
		if len(failures) > 0 {
			said += ": " + clean(failures[0].Message) + ruleText(failures[0])
		}
		marked.Notes = []note{{strings.Repeat(" ", uniseg.StringWidth(before)), said}}
	}
	shown.Lines = append(shown.Lines, marked)
	if rest := bytes.Count(text[end:], []byte("\n")); rest > 0 {
		shown.Lines = append(shown.Lines, shownLine{Gap: plural(rest, "line") + " after it"})
	}
	return shown
}

// showBytes shows bytes in hex, from shortly before the one that is no text.
func showBytes(value []byte, failures []model.FieldError, offset int64) shownValue {
	from := int(max(min(offset, int64(len(value)-1))-dumpBytes/2, 0)) / dumpRow * dumpRow
	to := min(from+dumpBytes, len(value))
	shown := shownValue{Note: fmt.Sprintf("These are no text. Bytes %d to %d of %d are shown in hex.", from, to-1, len(value))}
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
		line := shownLine{Tokens: []token{
			{"j-name", fmt.Sprintf("%08x  ", row)},
			{"", fmt.Sprintf("%-*s  ", 3*dumpRow-1, strings.Join(digits, " "))},
			{"j-text", string(characters)},
		}}
		if at := int(offset); at >= row && at < row+len(chunk) {
			said := fmt.Sprintf("byte %d", at)
			if len(failures) > 0 {
				said += ": " + clean(failures[0].Message) + ruleText(failures[0])
			}
			line.Notes = []note{{strings.Repeat(" ", 10+3*(at-row)), said}}
		}
		shown.Lines = append(shown.Lines, line)
	}
	return shown
}
