// Package mask hides what is personal in dead letters: names, phone numbers,
// e-mail addresses and addresses.
package mask

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hidden stands for a person's data, as JSON.
const Hidden = `"***"`

// personal says whether a field of this name, in any case, is a person's: name,
// phone, e-mail or address. The names of items are those of goods.
func personal(name string) bool {
	switch strings.ToLower(name) {
	case "name", "phone", "email", "e-mail", "address":
		return true
	}
	return false
}

// PersonalPath says whether a path in an order leads to a person's data.
func PersonalPath(path string) bool {
	return path == "delivery" || !strings.HasPrefix(path, "items") && personal(path[strings.LastIndexByte(path, '.')+1:])
}

// Personal says whether the names on the way to a value make it a person's data,
// as Value has it.
func Personal(names []string) bool {
	for _, name := range names {
		switch {
		case name == "items":
			return false // goods
		case personal(name):
			return true
		}
	}
	return false
}

// Value hides in whatever a letter's value is. Where it is no JSON, and so does
// not say what is what, everything is hidden that follows such a name or looks
// like an e-mail address or a phone number, and in bytes that are no text all
// that is text; it keeps its length then. Nil stays nil.
func Value(value []byte) []byte {
	switch {
	case value == nil:
		return nil
	case json.Valid(value):
		return maskJSON(value)
	case IsBinary(value):
		return Binary(value)
	}
	return Text(value)
}

func maskJSON(value []byte) []byte {
	m := masker{decoder: json.NewDecoder(bytes.NewReader(value)), data: value}
	m.decoder.UseNumber()
	m.value(false, false)
	return append(m.out, value[m.copied:]...)
}

// masker copies valid JSON but for scalars that are to be hidden.
type masker struct {
	decoder *json.Decoder
	data    []byte
	out     []byte
	copied  int
}

func (m *masker) value(hide, goods bool) {
	before := int(m.decoder.InputOffset())
	token, err := m.decoder.Token()
	if err != nil {
		return // it is valid
	}
	switch token := token.(type) {
	case json.Delim:
		for m.decoder.More() {
			if token == '[' {
				m.value(hide, goods)
				continue
			}
			name, _ := m.decoder.Token()
			text, _ := name.(string)
			m.value(hide || personal(text) && !goods, goods || text == "items")
		}
		_, _ = m.decoder.Token()
	case string:
		if hide && token != "" {
			m.hide(before)
		}
	case json.Number:
		if hide {
			m.hide(before)
		}
	}
}

// hide replaces the scalar that was just read.
func (m *masker) hide(before int) {
	end := int(m.decoder.InputOffset())
	start := before + len(m.data[before:end]) - len(bytes.TrimLeft(m.data[before:end], " \t\r\n:,"))
	m.out = append(append(m.out, m.data[m.copied:start]...), Hidden...)
	m.copied = end
}

var (
	named = regexp.MustCompile(`(?is)\b(?:name|phone|e-?mail|address)\\?["']?\s*[:=]\s*(\\?"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;}\]]+)`)
	email = regexp.MustCompile(`[^\s"'<>,:;(){}\[\]]+@[^\s"'<>,:;(){}\[\]]+`)
	phone = regexp.MustCompile(`\+\d[\d ()./-]{5,}`)
)

// Text hides by looks, and keeps the length.
func Text(text []byte) []byte {
	text = bytes.Clone(text)
	hide := func(start, end int) {
		for i := start; i < end; i++ {
			if c := text[i]; c != '"' && c != '\'' && c != '\n' {
				text[i] = '*'
			}
		}
	}
	for _, match := range named.FindAllSubmatchIndex(text, -1) {
		hide(match[2], match[3])
	}
	for _, pattern := range []*regexp.Regexp{email, phone} {
		for _, match := range pattern.FindAllIndex(text, -1) {
			hide(match[0], match[1])
		}
	}
	return text
}

// Header hides in a record's header: all of it if its name, or a part of that,
// is one of a person's data, and else what looks like that. It keeps its length.
func Header(name string, value []byte) []byte {
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if personal(part) {
			return bytes.Repeat([]byte("*"), len(value))
		}
	}
	return Text(value)
}

var quoted = regexp.MustCompile(`"[^"]*"|'[^']*'`)

// Message hides in what another service says of a failure: what it quotes may be
// from the record.
func Message(message string) string {
	return quoted.ReplaceAllString(string(Text([]byte(message))), Hidden)
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

// Binary hides the texts in bytes that are no text.
func Binary(data []byte) []byte {
	const shortest = 4
	data = bytes.Clone(data)
	for start, i := 0, 0; i <= len(data); i++ {
		if i < len(data) && (data[i] >= 0x20 && data[i] < 0x7f || data[i] >= 0x80) {
			continue
		}
		if i-start >= shortest {
			copy(data[start:i], bytes.Repeat([]byte("*"), i-start))
		}
		start = i + 1
	}
	return data
}
