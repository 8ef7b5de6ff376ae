package orderdb

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

// A version is read as the order was, with the unknown fields that were kept, whatever the
// rules of a valid order are.
func TestAVersionIsReadAsItWas(t *testing.T) {
	sample, err := os.ReadFile("../model/testdata/samples/order1001test.json")
	require.NoError(t, err)
	strange := bytes.Replace(sample, []byte(`"items"`), []byte(`"colour": {"b": 1.50, "a": null}, "items"`), 1)
	require.NotEqual(t, sample, strange)
	for name, record := range map[string][]byte{"known fields": sample, "unknown fields": strange} {
		decoded, err := model.New(model.Options{KeepUnknown: true}).Decode(record)
		require.NoError(t, err)
		decoded.Order.Locale = "no language at all" // by hand, against the rules
		for _, o := range []*model.Order{decoded.Order, decoded.Order.WithoutUnknown()} {
			content, err := CompressVersion(model.AppendCanonical(nil, o))
			require.NoError(t, err)
			was, err := (&Version{Content: content}).Order()
			require.NoError(t, err)
			require.Equal(t, string(model.AppendCanonical(nil, o)), string(model.AppendCanonical(nil, was)), name)
			require.True(t, HasContent([]*Version{{Content: content}}, o, model.Diff))
		}
	}
}
