package web

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever JSON comes, no byte of it is lost or moved by the colouring.
func FuzzTokensKeepTheText(f *testing.F) {
	f.Add(`{"a":[1,-2.5e3,true,null,"q\"\\"]}`)
	f.Add(`"unfinished \`)
	f.Fuzz(func(t *testing.T, text string) {
		joined := ""
		for _, token := range JSONTokens(text) {
			require.NotEmpty(t, token.Text)
			joined += token.Text
		}
		require.Equal(t, text, joined)
	})
}
