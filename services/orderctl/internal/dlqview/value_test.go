package dlqview

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// drawn is a shown value as text, notes below their lines.
func drawn(v ShownValue) string {
	var b strings.Builder
	for _, l := range v.Lines {
		if l.Gap != "" {
			fmt.Fprintf(&b, "… %s\n", l.Gap)
			continue
		}
		for _, t := range l.Tokens {
			b.WriteString(t.Text)
		}
		b.WriteString("\n")
		for _, n := range l.Notes {
			fmt.Fprintf(&b, "%s^ %s\n", n.Indent, n.Text)
		}
	}
	return b.String()
}

func TestShowJSON(t *testing.T) {
	failures := []model.FieldError{{Path: "a.b", Rule: "min", Message: "is too small"}, {Path: "a.gone", Rule: "required", Message: "is missing"}}
	require.Equal(t, `{
  "a": {
       ^ a.gone: is missing [required]
    "b": -1,
         ^ is too small [min]
    "list": [
      "x,:{}[]\"",
      null
    ]
  }
}
`, drawn(ShowValue([]byte(`{"a":{"b":-1,"list":["x,:{}[]\"",null]}}`), failures, -1)))
}

func TestShowText(t *testing.T) {
	broken := []byte("{\n\"a\": nope,\n\"b\": 1}")
	require.Equal(t, "{\n\"a\": nope,\n     ^ byte 7 (line 2, column 6): no value [not_json]\n… 1 line\n",
		drawn(ShowValue(broken, []model.FieldError{{Rule: "not_json", Message: "no value"}}, 7)))
	long := []byte(strings.Repeat("x", 5000))
	text := drawn(ShowValue(long, nil, 2500))
	require.Contains(t, text, "^ byte 2500")
	require.Less(t, len(text), 600)
	require.Contains(t, drawn(ShowValue([]byte("wide 漢字 nope"), nil, 12)), strings.Repeat(" ", 10)+"^ byte 12", "two columns each")
	require.Contains(t, drawn(ShowValue([]byte("cut short"), nil, 99)), "^ byte 9", "a place beyond its end")
}

func TestShowBytes(t *testing.T) {
	value := append([]byte{0, 1, 2, 3, 0xff}, make([]byte, 2000)...)
	text := drawn(ShowValue(value, []model.FieldError{{Message: "no text"}}, 4))
	require.Contains(t, text, "00000000  00 01 02 03 ff 00")
	require.Contains(t, text, strings.Repeat(" ", 10+3*4)+"^ byte 4: no text")
}

func TestShowNothing(t *testing.T) {
	require.Contains(t, ShowValue(nil, nil, -1).Note, "null")
	require.Contains(t, ShowValue([]byte{}, nil, 0).Note, "empty")
}

// What is deep or long is shown in parts, and quickly.
func TestShowMuch(t *testing.T) {
	deep := []byte(strings.Repeat("[", 9000) + strings.Repeat("]", 9000))
	require.Less(t, len(drawn(ShowValue(deep, nil, -1))), 2000)
	lines := []byte(`{"x":[` + strings.Repeat("1,", 300_000) + `1],"last":2}`)
	text := drawn(ShowValue(lines, []model.FieldError{{Path: "last", Message: "is wrong"}}, -1))
	require.Contains(t, text, "… 299,9")
	require.Contains(t, text, "^ is wrong")
	require.Less(t, len(text), 2000)
}

// Whatever a value is, showing it does not fail, and all of its text is harmless.
func FuzzShowValue(f *testing.F) {
	f.Add([]byte(`{"a": [1, "x"]}`), int64(-1))
	f.Add([]byte("\xff\xfe{"), int64(1))
	f.Add([]byte("{\"\u202e\": \"\x00\"}\n\n"), int64(9))
	f.Fuzz(func(t *testing.T, value []byte, offset int64) {
		for line := range strings.SplitSeq(drawn(ShowValue(value, []model.FieldError{{Path: "a", Message: "m"}}, offset)), "\n") {
			require.Equal(t, Clean(line), line)
		}
	})
}

// A byte order mark in front of JSON is named, and the failures are at their fields.
func TestValueWithByteOrderMark(t *testing.T) {
	value := []byte("\ufeff{\"locale\": \"?\", \"name\": \"a\u200bb\"}")
	for _, v := range [][]byte{value, mask.Value(value)} {
		shown := ShowValue(v, []model.FieldError{{Path: "locale", Rule: "bcp47", Message: "must be a tag"}}, -1)
		require.Contains(t, shown.Note, "byte order mark (U+FEFF)")
		require.Len(t, shown.Lines, 4)
		require.Equal(t, "must be a tag [bcp47]", shown.Lines[1].Notes[0].Text)
	}
	require.Contains(t, fmt.Sprint(ShowValue(value, nil, -1)), "a<U+200B>b")
	require.NotContains(t, string(mask.Value(value)), "\u200b")
}
