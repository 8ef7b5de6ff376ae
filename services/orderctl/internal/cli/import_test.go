package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnImportGoesOnAfterAWholeUID(t *testing.T) {
	for _, c := range []struct {
		uids     string
		answered int
		whole    int
	}{
		{"", 0, 0}, {"a b c", 2, 2}, {"a b b", 2, 1}, {"a b b", 3, 3}, {"b b b", 2, 0}, {"a b b c", 3, 3},
	} {
		require.Equal(t, c.whole, whole(strings.Fields(c.uids), c.answered), "%q, %d answered", c.uids, c.answered)
	}
}
