package page

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/web"
)

func joined(pieces []web.Token) string {
	var out strings.Builder
	for _, piece := range pieces {
		out.WriteString(piece.Text)
	}
	return out.String()
}

func TestPrettyJSONAddsOnlyWhiteSpace(t *testing.T) {
	t.Parallel()
	const canonical = `{"a":"x\"y\\","n":-9007199254740993,"big":9223372036854775807,"list":[{},[],null,true],"u":"\u0001<é>"}`
	pieces, err := prettyJSON([]byte(canonical))
	require.NoError(t, err)
	want := `{
  "a": "x\"y\\",
  "n": -9007199254740993,
  "big": 9223372036854775807,
  "list": [
    {},
    [],
    null,
    true
  ],
  "u": "\u0001<é>"
}`
	require.Equal(t, want, joined(pieces))

	classes := map[string]string{}
	for _, piece := range pieces {
		classes[piece.Text] = piece.Class
	}
	require.Equal(t, "j-name", classes[`"a"`])
	require.Equal(t, "j-text", classes[`"x\"y\\"`])
	require.Equal(t, "j-number", classes["-9007199254740993"])
	require.Equal(t, "j-word", classes["null"])
}

func TestPrettyJSONOfALongOrderIsOnePiece(t *testing.T) {
	t.Parallel()
	long := `{"a":"` + strings.Repeat("x", colouredJSON) + `"}`
	pieces, err := prettyJSON([]byte(long))
	require.NoError(t, err)
	require.Len(t, pieces, 1)
}

func TestPrettyJSONRefusesOtherText(t *testing.T) {
	t.Parallel()
	_, err := prettyJSON([]byte(`{"a"`))
	require.Error(t, err)
}
