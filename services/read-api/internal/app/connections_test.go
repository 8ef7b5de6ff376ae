package app

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/changes"
	"github.com/orderhub/orderhub/services/read-api/internal/stream"
)

// The budget in docs/operations.md is what the programs open: read-api by its own limits,
// the worker by the default of its setting, which docs/settings.md has from the program.
func TestTheConnectionBudgetIsDocumented(t *testing.T) {
	document, err := os.ReadFile("../../../../docs/operations.md")
	require.NoError(t, err)
	const listening = 1
	require.Contains(t, string(document), fmt.Sprintf("| `read-api` | %d | a pool of %d for look-ups, lists and checks; %d while all orders are read, otherwise 1; %d for streams that resume; %d that listens |",
		poolConns+changes.Conns+stream.CatchUps+listening, poolConns, changes.Conns, stream.CatchUps, listening))
	settings, err := os.ReadFile("../../../../docs/settings.md")
	require.NoError(t, err)
	worker := regexp.MustCompile("`DATABASE_MAX_CONNS` \\| `([0-9]+)`").FindSubmatch(settings)
	require.NotNil(t, worker)
	require.Contains(t, string(document), fmt.Sprintf("| `ingest-worker` | %s | the pool, `DATABASE_MAX_CONNS` |", worker[1]))
}
