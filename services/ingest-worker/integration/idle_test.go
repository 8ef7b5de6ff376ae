package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// No record arrives after the database went back, so only the check of an idle partition
// can notice it.
func TestAnIdleWorkerNoticesThatTheDatabaseWentBack(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker("INGEST_LAG_INTERVAL=1s")
	b.produce(0, order(t, "kept", "a"), order(t, "lost1", "a"), order(t, "lost2", "a"))
	b.drained()
	require.Equal(t, 3, b.count("orders"))

	b.exec(`WITH back AS (UPDATE ingest_positions SET next_offset = 1) DELETE FROM orders WHERE order_uid LIKE 'lost%'`)
	b.eventually("what was lost is stored again", func() (bool, string) {
		stored := b.count("orders")
		return stored == 3, fmt.Sprint(stored, " orders")
	})
	b.drained()
	require.Equal(t, 2, w.metric("orderhub_ingest_positions_behind_records_total", "partition=0"))
	var told bool
	var position int
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT epoch IS NOT NULL, next_offset FROM order_changes_state, ingest_positions`).Scan(&told, &position))
	require.True(t, told, "readers have to know")
	require.Equal(t, 3, position)
}
