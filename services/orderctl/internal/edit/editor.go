package edit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/model"
)

// ForEditor gives a value as people edit it, and how to get back from there. A
// value on one line is indented, and goes back to one line, so that what is not
// edited is the same to the byte; any other is edited as it is. The line break
// that editors put at the end goes. What nobody sees is made Visible.
func ForEditor(value []byte) (text []byte, back func([]byte) []byte) {
	laid, whole := layOut(value)
	text, hidden := Visible(laid)
	return text, func(edited []byte) []byte { return whole(hidden(edited)) }
}

func layOut(value []byte) (text []byte, back func([]byte) []byte) {
	var compact, indented bytes.Buffer
	if json.Compact(&compact, value) == nil && bytes.Equal(compact.Bytes(), value) && json.Indent(&indented, value, "", "  ") == nil {
		shown := append(indented.Bytes(), '\n')
		return shown, func(edited []byte) []byte {
			var line bytes.Buffer
			if json.Compact(&line, edited) != nil {
				return withoutBreak(edited) // no JSON: for the check to tell
			}
			return line.Bytes()
		}
	}
	if bytes.HasSuffix(value, []byte("\n")) {
		return value, func(edited []byte) []byte { return edited }
	}
	return append(slices.Clip(value), '\n'), withoutBreak
}

func withoutBreak(text []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
}

// visibleMark is a character that nobody sees, as people edit it.
var visibleMark = regexp.MustCompile(`<U\+([0-9A-F]{4,6})>`)

// Visible writes characters that nobody sees as <U+200B>, for people to edit, and gives
// the way back. A value that is no text, or that has such marks of its own, stays as it is.
// Joiners stay as well: they are parts of words and of emoji.
func Visible(value []byte) (text []byte, back func([]byte) []byte) {
	if !utf8.Valid(value) || visibleMark.Match(value) {
		return value, func(edited []byte) []byte { return edited }
	}
	var b strings.Builder
	for _, r := range string(value) {
		if model.IsInvisible(r) && r != '\u200c' && r != '\u200d' {
			fmt.Fprintf(&b, "<U+%04X>", r)
		} else {
			b.WriteRune(r)
		}
	}
	return []byte(b.String()), func(edited []byte) []byte {
		return visibleMark.ReplaceAllFunc(edited, func(mark []byte) []byte {
			r, err := strconv.ParseUint(string(mark[len("<U+"):len(mark)-1]), 16, 32)
			if err != nil || !utf8.ValidRune(rune(r)) {
				return mark
			}
			return utf8.AppendRune(nil, rune(r))
		})
	}
}
