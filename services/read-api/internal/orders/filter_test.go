package orders

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFingerprintsDiffer(t *testing.T) {
	one, other := int64(1), int64(2)
	seen := map[string]int{}
	for i, f := range []Filter{
		{}, {CustomerID: "a"}, {TrackNumber: "a"}, {DeliveryService: "a"}, {Locale: "a"}, {Currency: "a"}, {CustomerID: "aa"},
		{CustomerID: "a", TrackNumber: "a"}, {AmountMin: &one}, {AmountMax: &one}, {AmountMin: &other}, {AmountMin: &one, AmountMax: &one},
	} {
		mark := f.Fingerprint()
		before, there := seen[mark]
		require.False(t, there, "%d and %d", before, i)
		seen[mark] = i
	}
}
