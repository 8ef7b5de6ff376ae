// Package mask hides personal data in dead letters. Its default is to hide: it
// shows the structure of a record, the fields of an order that are neither personal
// nor free text and whose content looks as it should (see codes and numbers), and
// names made of known words. Everything else is masked, whatever it is called.
package mask

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/model"
)

const (
	// Hidden stands for a masked value, as JSON.
	Hidden = `"***"`
	// Name stands for a masked name, id or label.
	Name = "***"
)

// Value masks a record's value. JSON stays JSON; other text and bytes keep their
// length, so that offsets into them stay right. Nil stays nil.
func Value(value []byte) []byte {
	switch {
	case value == nil:
		return nil
	case json.Valid(value):
		return maskJSON(value, 0)
	case json.Valid(bytes.TrimPrefix(value, []byte(model.ByteOrderMark))):
		return append([]byte(model.ByteOrderMark), maskJSON(value[len(model.ByteOrderMark):], 0)...)
	case IsBinary(value):
		return Binary(value)
	}
	return Text(value)
}

// maxNested is how deep JSON within strings of JSON is looked into.
const maxNested = 4

func maskJSON(value []byte, nested int) []byte {
	m := masker{decoder: json.NewDecoder(bytes.NewReader(value)), data: value, nested: nested}
	m.decoder.UseNumber()
	m.value("", false)
	return append(m.out, value[m.copied:]...)
}

// masker copies valid JSON and replaces what must not be shown.
type masker struct {
	decoder *json.Decoder
	data    []byte
	nested  int
	out     []byte
	copied  int
}

// value masks the value of a field; hide says that the field, or one around it, is
// personal.
func (m *masker) value(field string, hide bool) {
	before := int(m.decoder.InputOffset())
	token, err := m.decoder.Token()
	if err != nil {
		return // the caller has checked that it is valid
	}
	switch token := token.(type) {
	case json.Delim:
		for m.decoder.More() {
			if token == '[' {
				m.value(field, hide)
				continue
			}
			at := int(m.decoder.InputOffset())
			name, _ := m.decoder.Token()
			text, _ := name.(string)
			if !isName(text) {
				m.replace(at, []byte(Hidden))
			}
			m.value(text, hide || personal(text))
		}
		_, _ = m.decoder.Token()
	case string:
		if shown := m.text(field, token, hide); shown != nil {
			m.replace(before, shown)
		}
	case json.Number:
		if !number(field, token.String(), hide) {
			m.replace(before, []byte(Hidden))
		}
	}
}

// text gives what is shown instead of a string; nil: the string as it is.
func (m *masker) text(field, text string, hide bool) []byte {
	switch inner := []byte(strings.TrimSpace(text)); {
	case shownText(field, text, hide):
		return nil
	case !hide && m.nested < maxNested && len(inner) > 0 && strings.ContainsRune(`{["`, rune(inner[0])) && json.Valid(inner):
		quoted, err := json.Marshal(string(maskJSON(inner, m.nested+1)))
		if err == nil {
			return quoted
		}
	}
	return []byte(Hidden)
}

func shownText(field, text string, hide bool) bool {
	code := codes[field]
	return text == "" || !hide && code != nil && code(text)
}

func number(field, digits string, hide bool) bool {
	known := numbers[field]
	return !hide && known != nil && known(digits)
}

// replace puts text in the place of the token that was just read.
func (m *masker) replace(before int, text []byte) {
	end := int(m.decoder.InputOffset())
	start := before + len(m.data[before:end]) - len(bytes.TrimLeft(m.data[before:end], " \t\r\n:,"))
	m.out = append(append(m.out, m.data[m.copied:start]...), text...)
	m.copied = end
}

// Scalar masks a JSON value, or text that isn't JSON, that stands at a path of an
// object, by the names and positions that lead to it. Empty stays empty.
func Scalar(path []string, raw string) string {
	if raw == "" {
		return ""
	}
	if !json.Valid([]byte(raw)) {
		return string(Value([]byte(raw)))
	}
	field, hide := fieldOf(path)
	if hide {
		return Hidden
	}
	named, err := json.Marshal(map[string]json.RawMessage{field: json.RawMessage(raw)})
	if err != nil {
		return Hidden
	}
	masked := maskJSON(named, 0)
	return string(masked[bytes.IndexByte(masked, ':')+1 : len(masked)-1])
}

// Shows reports whether the field to which names and positions lead is one that is shown
// where its content looks as it should.
func Shows(path []string) bool {
	field, hide := fieldOf(path)
	return !hide && (codes[field] != nil || numbers[field] != nil)
}

// fieldOf is the last name on a path of names and positions; hide says that one of them is
// personal.
func fieldOf(path []string) (field string, hide bool) {
	for _, name := range path {
		hide = hide || personal(name)
		if strings.Trim(name, "0123456789[]") != "" {
			field = name
		}
	}
	return field, hide
}

// Path masks the names in a path, such as items[2].price, that are not known.
func Path(path string) string {
	names := strings.Split(path, ".")
	for i, name := range names {
		bare, index, _ := strings.Cut(name, "[")
		if bare != "" && bare != "?" && !isName(bare) {
			names[i] = Name
			if index != "" && matcherIndex(index) {
				names[i] += "[" + index
			}
		}
	}
	return strings.Join(names, ".")
}

var matcherIndex = matcher(`[0-9]*\](\[[0-9]*\])*`)

var (
	// member is a field with a scalar value, in text that need not be JSON.
	member = regexp.MustCompile(`"([A-Za-z_]+)"[ \t]*:[ \t]*(?:"([^"\\]*)"|(-?[0-9][0-9.]*))`)
	run    = regexp.MustCompile(`[^\s{}\[\]":,'=;<>()\\/&?|]+`)
	// named follows a name.
	named = regexp.MustCompile(`^\\?["']?[ \t]*[:=]`)
)

// Text masks text that is not JSON, and keeps its length. Punctuation, names of
// fields and the fields that Value shows stay.
func Text(text []byte) []byte {
	kept := make([]bool, len(text))
	keep := func(from, to int) {
		for i := from; i < to; i++ {
			kept[i] = true
		}
	}
	for _, at := range member.FindAllSubmatchIndex(text, -1) {
		name := string(text[at[2]:at[3]])
		if at[4] >= 0 && shownText(name, string(text[at[4]:at[5]]), personal(name)) {
			keep(at[4], at[5])
		}
		if at[6] >= 0 && number(name, string(text[at[6]:at[7]]), personal(name)) {
			keep(at[6], at[7])
		}
	}
	masked := bytes.Clone(text)
	for _, at := range run.FindAllIndex(text, -1) {
		word := string(text[at[0]:at[1]])
		inTag := at[0] > 0 && bytes.HasPrefix(text[at[1]:], []byte(">")) && strings.ContainsRune("</", rune(text[at[0]-1]))
		if word == "true" || word == "false" || word == "null" || (inTag || named.Match(text[at[1]:])) && isName(word) {
			keep(at[0], at[1])
		}
		for i := at[0]; i < at[1]; i++ {
			if !kept[i] {
				masked[i] = '*'
			}
		}
	}
	for i, c := range masked {
		if c == '\\' && !kept[i] {
			masked[i] = '*'
		}
	}
	return masked
}

// All masks all of a text, such as a record's key, and keeps its length. Nil stays nil.
func All(text []byte) []byte {
	if text == nil {
		return nil
	}
	return bytes.Repeat([]byte("*"), len(text))
}

// IsBinary is true of bytes of which many are no text.
func IsBinary(value []byte) bool {
	strange, runes := 0, 0
	for rest := value[:min(len(value), 4096)]; len(rest) > 0; runes++ {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) && !unicode.IsSpace(r) {
			strange++
		}
		rest = rest[n:]
	}
	return strange*5 > runes
}

// Binary masks bytes that are no text, but for control characters: any other may be
// a character of some encoding. It keeps the length.
func Binary(data []byte) []byte {
	masked := bytes.Clone(data)
	for i, c := range masked {
		if c >= 0x20 {
			masked[i] = '*'
		}
	}
	return masked
}
