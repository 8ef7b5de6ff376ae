package page

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// colouredJSON is the size in bytes up to which JSON is shown in colours. An
// order beyond it would take tens of thousands of elements.
const colouredJSON = 64 << 10

// token is a piece of JSON text and the CSS class that colours it; the class
// is empty for white space and punctuation.
type token struct{ Class, Text string }

// prettyJSON indents canonical JSON for reading and splits it for colouring.
// Only white space is added: numbers and escapes stay as they are.
func prettyJSON(canonical []byte) ([]token, error) {
	var out bytes.Buffer
	if err := json.Indent(&out, canonical, "", "  "); err != nil {
		return nil, fmt.Errorf("indent the order's JSON: %w", err)
	}
	text := out.String()
	if len(text) > colouredJSON {
		return []token{{Text: text}}, nil
	}
	return tokens(text), nil
}

// tokens splits valid JSON text. All of the text is in the result, in order.
func tokens(text string) []token {
	var out []token
	for plain := 0; plain < len(text); {
		start := plain
		for start < len(text) && !startsValue(text[start]) {
			start++
		}
		if start > plain {
			out = append(out, token{Text: text[plain:start]})
		}
		if start == len(text) {
			break
		}
		end := start + 1
		class := "j-word"
		if first := text[start]; first == '"' {
			end = stringEnd(text, start)
			class = "j-text"
			if end < len(text) && text[end] == ':' {
				class = "j-name"
			}
		} else {
			if first == '-' || (first >= '0' && first <= '9') {
				class = "j-number"
			}
			for end < len(text) && startsValue(text[end]) {
				end++
			}
		}
		out = append(out, token{Class: class, Text: text[start:end]})
		plain = end
	}
	return out
}

// startsValue tells whether a byte belongs to a string, number or word rather
// than to white space and punctuation.
func startsValue(b byte) bool {
	switch b {
	case ' ', '\n', '{', '}', '[', ']', ':', ',':
		return false
	}
	return true
}

// stringEnd gives the index behind the string that begins at start.
func stringEnd(text string, start int) int {
	for i := start + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}
