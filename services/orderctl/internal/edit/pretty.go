package edit

import (
	"bytes"
	"encoding/json"
	"slices"
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
