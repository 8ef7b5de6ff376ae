package model

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ByteOrderMark may stand in front of a record, and is ignored there.
const ByteOrderMark = "\ufeff"

// IsInvisible reports whether nobody can see r in a text: controls, spaces other than the
// ordinary one, marks of order and direction, characters without width.
func IsInvisible(r rune) bool {
	switch r {
	case ' ', '\t', '\n', '\r':
		return false
	case '\u034f', '\u115f', '\u1160', '\u2800', '\u3164', '\uffa0': // fillers and a blank
		return true
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z)
}

// invisibleNames are the names of those that people meet.
var invisibleNames = map[rune]string{
	0x00: "NUL", 0x0b: "vertical tab", 0x0c: "form feed", 0x1a: "end of file in DOS", 0x1e: "record separator", 0x85: "next line",
	0xa0: "no-break space", 0xad: "soft hyphen", 0x200b: "zero width space", 0x200c: "zero width non-joiner",
	0x200d: "zero width joiner", 0x200e: "left-to-right mark", 0x200f: "right-to-left mark", 0x2028: "line separator",
	0x2029: "paragraph separator", 0x202a: "left-to-right embedding", 0x202c: "end of a change of direction",
	0x202f: "narrow no-break space", 0x2060: "word joiner", 0x3000: "ideographic space", 0xfeff: "byte order mark",
}

func invisibleName(r rune) string {
	name := fmt.Sprintf("U+%04X", r)
	if known := invisibleNames[r]; known != "" {
		name += " (" + known + ")"
	}
	return name
}

// invisibleAt names the invisible character that text begins with; "" if it begins with
// none.
func invisibleAt(text []byte) string {
	r, size := utf8.DecodeRune(text)
	if size == 0 || r == utf8.RuneError && size == 1 || !IsInvisible(r) {
		return ""
	}
	return invisibleName(r)
}

// skipInvisible returns text from its first visible character on.
func skipInvisible(text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 || !IsInvisible(r) && !unicode.IsSpace(r) {
			break
		}
		text = text[size:]
	}
	return text
}

// TrimInvisible returns s without white space and invisible characters around it.
func TrimInvisible(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return IsInvisible(r) || unicode.IsSpace(r) })
}

// hiddenIn says which invisible character is in a field's text, or that white space is
// around it; "" if neither is.
func hiddenIn(s string) string {
	for _, r := range s {
		if IsInvisible(r) {
			return "it contains the invisible character " + invisibleName(r)
		}
	}
	if s != "" && strings.TrimSpace(s) != s {
		return "there is white space around it"
	}
	return ""
}
