package model

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

type vector struct {
	Description string `json:"description"`
	Input       string `json:"input"`
	Canonical   string `json:"canonical"`
	Hash        string `json:"hash"`
	Kept        string `json:"kept"` // canonical, where there are unknown fields
	KeptHash    string `json:"kept_hash"`
}

func readVectors(tb testing.TB) map[string]vector {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	require.NoError(tb, err)
	require.NotEmpty(tb, files)
	vectors := make(map[string]vector, len(files))
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(tb, err)
		var v vector
		require.NoError(tb, json.Unmarshal(data, &v), file)
		vectors[filepath.Base(file)] = v
	}
	return vectors
}

func TestVectors(t *testing.T) {
	c := New(Options{})
	for name, v := range readVectors(t) {
		t.Run(name, func(t *testing.T) {
			decoded, err := c.Decode([]byte(v.Input))
			require.NoError(t, err, v.Description)
			canonical := AppendCanonical(nil, decoded.Order)
			require.Equal(t, v.Canonical, string(canonical), v.Description)
			require.Equal(t, v.Hash, ContentHash(canonical).String())

			kept, err := New(Options{KeepUnknown: true}).Decode([]byte(v.Input))
			require.NoError(t, err)
			whole := AppendCanonical(nil, kept.Order)
			require.Equal(t, cmp.Or(v.Kept, v.Canonical), string(whole), v.Description)
			require.Equal(t, v.KeptHash, KeptHash(whole).String())
			require.Equal(t, decoded.Order, kept.Order.WithoutUnknown())

			again, err := c.Decode(canonical)
			require.NoError(t, err)
			require.Equal(t, decoded.Order, again.Order)
			require.Empty(t, again.Unknown)
		})
	}
}

func TestSamplesAreValid(t *testing.T) {
	c := New(Options{CheckSums: true, RejectUnknown: true})
	for _, name := range []string{"model.json", "order1001test.json"} {
		decoded, err := c.Decode(readSample(t, name))
		require.NoError(t, err)
		require.Empty(t, decoded.Unknown)
		require.Empty(t, c.Validate(decoded.Order))
	}
}

func TestHashOfLongOrders(t *testing.T) {
	// The short and the long way to hash must meet without a seam.
	canonical := make([]byte, 5000)
	seen := map[Hash]bool{}
	for n := 4090; n < 4100; n++ {
		h := ContentHash(canonical[:n])
		require.False(t, seen[h])
		seen[h] = true
		require.Equal(t, hashPlainly(canonical[:n]), h)
	}
}
