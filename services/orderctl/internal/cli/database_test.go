package cli

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The budget of connections in docs/operations.md has the size of the pool.
func TestTheConnectionsOfCommandsAreDocumented(t *testing.T) {
	document, err := os.ReadFile("../../../../docs/operations.md")
	require.NoError(t, err)
	require.Contains(t, string(document), fmt.Sprintf("| `orderctl` | %d | a pool, ", maxConns))
}
