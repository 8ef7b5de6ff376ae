package web

import "regexp"

// Token is a piece of text and the CSS class that colours it; the class of white space
// and punctuation is empty.
type Token struct{ Class, Text string }

// jsonToken is a string, with the colon behind it where it is a name, a number or a
// word.
var jsonToken = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"?(:)?|[^\s{}\[\]:,"]+`)

// JSONTokens splits JSON text, or a line of it, for colouring. All of the text is in the
// result, in order.
func JSONTokens(text string) (all []Token) {
	add := func(class, text string) {
		if text != "" {
			all = append(all, Token{class, text})
		}
	}
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
		add("", text[done:start])
		add(class, text[start:end])
		done = end
	}
	add("", text[done:])
	return all
}
