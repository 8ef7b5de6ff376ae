package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
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

// jsonToken is a string, with the colon behind it where it is a name, a number or a
// word.
var jsonToken = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"?(:)?|[^\s{}\[\]:,"]+`)

// tokens splits JSON text. All of the text is in the result, in order.
func tokens(text string) (all []token) {
	done := 0
	for _, at := range jsonToken.FindAllStringSubmatchIndex(text, -1) {
		start, end, class := at[0], at[1], "j-word"
		switch first := text[start]; {
		case at[2] >= 0:
			class, end = "j-name", at[2]
		case first == '"':
			class = "j-text"
		case first == '-' || first >= '0' && first <= '9':
			class = "j-number"
		}
		all = append(all, token{Text: text[done:start]}, token{class, text[start:end]})
		done = end
	}
	return append(all, token{Text: text[done:]})
}
