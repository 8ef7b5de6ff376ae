package orderwrite

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/batch"
)

// Inserting without looking up risks an ERROR in PostgreSQL's log, so only full batches
// of a streak of new orders do.
func TestOnlyFullBatchesAreInsertedWithoutLookingUp(t *testing.T) {
	w := New(nil, Options{Batch: batch.Limits{Count: 1000}})
	full := make([]*Entry, 750)
	for i := range full {
		full[i] = &Entry{}
	}
	require.False(t, w.expectsFresh(full), "without a streak")
	w.fresh.Store(freshStreak)
	require.True(t, w.expectsFresh(full))
	require.False(t, w.expectsFresh(full[1:]))
	full[0].xid = "1"
	require.False(t, w.expectsFresh(full), "with a commit that was not confirmed")
}
