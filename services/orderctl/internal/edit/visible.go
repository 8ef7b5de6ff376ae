package edit

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/model"
)

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
