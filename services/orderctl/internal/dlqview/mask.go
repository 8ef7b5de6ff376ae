package dlqview

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// masked stands for a person's data.
const masked = `"***"`

// personal says whether a field of this name, in any case, is a person's: name,
// phone, e-mail or address. The names of items are those of goods.
func personal(name string) bool {
	switch strings.ToLower(name) {
	case "name", "phone", "email", "e-mail", "address":
		return true
	}
	return false
}

// personalPath says the same of a path in an order.
func personalPath(path string) bool {
	return path == "delivery" || !strings.HasPrefix(path, "items") && personal(path[strings.LastIndexByte(path, '.')+1:])
}

// Mask hides a person's data in a value. Where the value is no JSON, and so does
// not say what is what, everything is hidden that follows such a name or looks
// like an e-mail address or a phone number, and the value keeps its length.
func Mask(value []byte) []byte {
	if !json.Valid(value) {
		return maskText(value)
	}
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
	m.out = append(append(m.out, m.data[m.copied:start]...), masked...)
	m.copied = end
}

var (
	named = regexp.MustCompile(`(?is)\b(?:name|phone|e-?mail|address)\\?["']?\s*[:=]\s*(\\?"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;}\]]+)`)
	email = regexp.MustCompile(`[^\s"'<>,:;(){}\[\]]+@[^\s"'<>,:;(){}\[\]]+`)
	phone = regexp.MustCompile(`\+\d[\d ()./-]{5,}`)
)

// maskText hides by looks, and keeps the length.
func maskText(text []byte) []byte {
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

// maskBinary hides the texts in bytes that are no text.
func maskBinary(data []byte) []byte {
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
