// Package dlqview shows dead letters to people and to programs.
package dlqview

import (
	"embed"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"github.com/orderhub/orderhub/libs/model"
)

// Style says how text is shown.
type Style struct {
	// Width is the terminal's, in columns; 0 means that nothing is cut.
	Width int
	Color bool
	// TraceURL is the template of links to traces, see TraceLink; it may be "".
	TraceURL string
}

// TraceLink is where the trace with an id is shown: the template with the id for
// {trace_id}. Without a template it is "".
func TraceLink(template, id string) string { return strings.ReplaceAll(template, "{trace_id}", id) }

func (s Style) traceLink(id string) string { return TraceLink(s.TraceURL, id) }

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s Style) bold(text string) string   { return s.paint("1", text) }
func (s Style) red(text string) string    { return s.paint("31", text) }
func (s Style) green(text string) string  { return s.paint("32", text) }
func (s Style) yellow(text string) string { return s.paint("33", text) }
func (s Style) dim(text string) string    { return s.paint("2", text) }

// Clean makes text of a record visible, and harmless for a terminal: a character that
// nobody would see, or that would move the cursor, change colours or turn the direction of
// writing, is shown as <U+200B>, and bytes that are no UTF-8 in hex.
func Clean(text string) string {
	harmless := true
	for _, r := range text {
		harmless = harmless && r != utf8.RuneError && isVisible(r)
	}
	if harmless {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case isVisible(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		default:
			fmt.Fprintf(&b, "<U+%04X>", r)
		}
		i += n
	}
	return b.String()
}

func isVisible(r rune) bool { return unicode.IsPrint(r) && !model.IsInvisible(r) }

func width(text string) int { return uniseg.StringWidth(text) }

func cut(text string, columns int) string {
	if width(text) <= columns {
		return text
	}
	if columns < 1 {
		return ""
	}
	var b strings.Builder
	taken := 0
	for graphemes := uniseg.NewGraphemes(text); graphemes.Next(); {
		taken += graphemes.Width()
		if taken > columns-1 {
			break
		}
		b.WriteString(graphemes.Str())
	}
	return b.String() + "…"
}

func padded(text string, columns int) string {
	return text + strings.Repeat(" ", max(columns-width(text), 0))
}

// Plural is a number, with commas between thousands, and its noun.
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Number(n) + " " + noun + "s"
}

// Number writes a number with a comma between thousands.
func Number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// longestText is how many bytes of a single text are shown.
const longestText = 400

// Shorten cuts a long text, and says how much is left out.
func Shorten(text string) string {
	short := Cut(text, longestText)
	if short == text {
		return text
	}
	return fmt.Sprintf("%s… (%s more)", short, Plural(len(text)-len(short), "byte"))
}

// Cut is as much of a text as fits so many bytes, in whole characters.
func Cut(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	for !utf8.RuneStart(text[bytes]) {
		bytes--
	}
	return text[:bytes]
}

//go:embed templates
var templateFiles embed.FS

// templates are for terminals. The console has its own, of the same values.
var templates = template.Must(template.New("").Funcs(Style{}.funcs()).ParseFS(templateFiles, "templates/*.txt"))

func (s Style) funcs() template.FuncMap {
	return template.FuncMap{
		"bold": s.bold, "red": s.red, "green": s.green, "yellow": s.yellow, "dim": s.dim,
		"clean": Clean, "cut": cut, "pad": padded, "when": when, "trace_link": s.traceLink,
		"plural": func(n any, noun string) string { return Plural(int(reflect.ValueOf(n).Int()), noun) },
		"perSecond": func(n any, took time.Duration) float64 {
			if n := reflect.ValueOf(n).Int(); n > 1 && took > 0 {
				return float64(n) / took.Seconds()
			}
			return 0
		},
	}
}

// Write writes a value for people by one of the templates.
func (s Style) Write(w io.Writer, template string, value any) error {
	styled, err := templates.Clone()
	if err != nil {
		return err
	}
	return styled.Funcs(s.funcs()).ExecuteTemplate(w, template, value)
}

// SizeText is how large the value is, and whether it was cut to fit the topic.
func (l Letter) SizeText() string {
	if l.Truncated {
		return fmt.Sprintf("%s, cut from %d", Plural(l.Stored, "byte"), l.Size)
	}
	return Plural(l.Stored, "byte")
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.999 MST")
}
