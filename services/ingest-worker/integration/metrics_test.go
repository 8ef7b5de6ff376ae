package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
)

// Each phase is measured as often as it happens: an answer without records and a batch
// without letters have none of theirs.
func TestThePhasesOfABatchAreMeasured(t *testing.T) {
	b := setup(t, 1)
	asked := make(chan struct{}, 100)
	b.broker.Cluster().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster().KeepControl()
		select {
		case asked <- struct{}{}:
		default:
		}
		return nil, nil, false
	})
	w := b.startWorker()
	<-asked
	<-asked // so the first answer had no records
	phase := func(name string) int { return w.metric("orderhub_ingest_phase_seconds_count", "phase="+name) }
	b.produce(0, order(t, "x", "a"))
	b.drained()
	b.eventually("the batch is done", func() (bool, string) { return w.metric("orderhub_ingest_batch_records_count") == 1, "" })
	for _, name := range []string{"fetch", "decode", orderwrite.PhaseLookUp, orderwrite.PhaseCopy, orderwrite.PhaseCommit, "offset"} {
		require.Equal(t, 1, phase(name), name)
	}
	require.Zero(t, phase("letters"))
	b.produce(0, []byte("no order"))
	b.drained()
	b.eventually("the letter is counted", func() (bool, string) { return w.metric("orderhub_ingest_batch_records_count") == 2, "" })
	require.Equal(t, 1, phase("letters"))
	require.Equal(t, 2, phase("offset"))
	require.Equal(t, 1, phase(orderwrite.PhaseCopy))
	require.Positive(t, w.metric("go_sql_open_connections", "db_name=orders"))
}

// A second worker takes half of the partitions, and gives them back when it leaves.
func TestRebalancesAndPartitionsAreCounted(t *testing.T) {
	b := setup(t, 4)
	one := b.startWorker()
	assigned := func(w *worker, partitions, rebalances int) {
		t.Helper()
		b.eventually("the partitions are assigned", func() (bool, string) {
			have, joined := w.metric("orderhub_ingest_assigned_partitions"), w.metric("orderhub_ingest_rebalances_total")
			return have == partitions && joined >= rebalances, fmt.Sprint(have, " partitions, generation ", joined)
		})
	}
	assigned(one, 4, 1)
	two := b.startWorker()
	assigned(one, 2, 2)
	assigned(two, 2, 1)
	two.stop()
	assigned(one, 4, 3)
}
