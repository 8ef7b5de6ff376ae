package page

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/orderhub/orderhub/libs/platform/web"
)

// colouredJSON is the size in bytes up to which JSON is shown in colours. An
// order beyond it would take tens of thousands of elements.
const colouredJSON = 64 << 10

// prettyJSON indents canonical JSON for reading and splits it for colouring.
// Only white space is added: numbers and escapes stay as they are.
func prettyJSON(canonical []byte) ([]web.Token, error) {
	var out bytes.Buffer
	if err := json.Indent(&out, canonical, "", "  "); err != nil {
		return nil, fmt.Errorf("indent the order's JSON: %w", err)
	}
	text := out.String()
	if len(text) > colouredJSON {
		return []web.Token{{Text: text}}, nil
	}
	return web.JSONTokens(text), nil
}
