package otherdb

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheGuidesMappingIsOne reads the example that docs/moving-over.md shows.
func TestTheGuidesMappingIsOne(t *testing.T) {
	guide, err := os.ReadFile("../../../../docs/moving-over.md")
	require.NoError(t, err)
	_, example, found := strings.Cut(string(guide), "```yaml\n")
	require.True(t, found)
	example, _, _ = strings.Cut(example, "```")
	m, err := ParseMapping([]byte(example))
	require.NoError(t, err)
	require.Equal(t, "'ru'", m.Orders.Columns["locale"])
	require.Equal(t, "(p.total * 100)::bigint", m.Payments.Columns["amount"])
	require.Equal(t, "i.line", m.Items.Sort)
	again, err := ParseMapping([]byte(m.over(Mapping{}).String()))
	require.NoError(t, err)
	require.Equal(t, m.Payments, again.Payments)
}
