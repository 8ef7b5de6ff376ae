package deadletter

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// A person's letters are found by their contents, in whatever form these failed.
func TestReadingsInAllForms(t *testing.T) {
	order := `{"order_uid": "uid-1", "customer_id": "ann?>", "broken": `
	wide := ""
	for _, c := range utf16.Encode([]rune(order)) {
		wide += string([]byte{byte(c), byte(c >> 8)})
	}
	standard := base64.StdEncoding.EncodeToString([]byte(order))
	for name, value := range map[string]string{
		"as it is":       order,
		"in a text":      `{"data": "{\"order_uid\": \"uid-1\", \"customer_id\": \"ann?>\"}"}`,
		"utf-16":         wide,
		"base64":         standard,
		"in CloudEvents": `{"specversion": "1.0", "data_base64": "` + standard + `"}`,
		"of PHP":         `{"data": "` + strings.ReplaceAll(standard, "/", `\/`) + `"}`,
		"for addresses":  base64.RawURLEncoding.EncodeToString([]byte(order)),
		"twice":          base64.StdEncoding.EncodeToString([]byte(`{"data": "` + standard + `"}`)),
	} {
		require.Contains(t, Readings([]byte(value), "customer_id"), "ann?>", name)
		require.Contains(t, OrderUIDs([]byte("key"), []byte(value)), "uid-1", name)
	}
	require.Equal(t, []string{"42"}, Readings([]byte(`{"customer_id": 42, "order_uid": null}`), "customer_id"))
	require.Empty(t, Readings([]byte(`{"customer_id": 42, "order_uid": null}`), "order_uid"))
	require.Empty(t, Readings([]byte(`{"customer_id":`), "customer_id"))
}
