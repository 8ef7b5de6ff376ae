package web

import "strings"

// Cell keeps a text from being taken for a formula by programs that open CSV.
func Cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
