package integration

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// An operator pauses the workers under load. They commit what they have begun, keep their
// partitions, stay ready, and measure how far they are behind. A pause outlasts restarts.
// At its end each record is stored once.
func TestPausedWorkersStoreNothing(t *testing.T) {
	b := setup(t, 2)
	w := b.startWorker()
	sent, stop, stopped := 0, make(chan struct{}), make(chan struct{})
	one := order(t, "order-n", "a")
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				b.produce(int32(sent%2), bytes.ReplaceAll(one, []byte("order-n"), fmt.Append(nil, "order-", sent)))
				sent++
			}
		}
	}()
	b.eventually("orders are stored", func() (bool, string) { return b.count("orders") > 100, "" })
	b.exec(`INSERT INTO ingest_pauses (consumer_group, paused_by, why) VALUES ($1, 'ann', 'a test')`, group)
	behind := func(w *worker, records int) {
		b.eventually("the worker says that it is paused, and how far behind", func() (bool, string) {
			paused, lag := w.metric("orderhub_ingest_paused"), w.metric("orderhub_ingest_lag_records")
			return paused == 1 && lag >= records, fmt.Sprint(paused, lag)
		})
	}
	behind(w, 1000)
	b.eventually("the batches that were begun are over", func() (bool, string) {
		begun, over := w.value("orderhub_ingest_flushes_total"), w.value("orderhub_ingest_batch_seconds_count")
		return begun == over, fmt.Sprint(begun, over)
	})
	stored := b.count("orders")
	behind(w, w.metric("orderhub_ingest_lag_records")+500)
	close(stop)
	<-stopped
	require.Equal(t, stored, b.count("orders"))
	committed, err := b.admin.FetchOffsets(b.ctx, group)
	require.NoError(t, err)
	total := 0
	for _, at := range committed.Sorted() {
		total += int(at.At)
	}
	require.Equal(t, stored, total, "what is stored is committed")
	ready, body := w.readiness()
	require.True(t, ready, body)
	require.Contains(t, body, "paused since 20")
	require.Equal(t, 2, w.metric("orderhub_ingest_assigned_partitions"))
	require.Equal(t, 1, w.metric("orderhub_ingest_rebalances_total"))

	// One that is stopped does not wait for the end of the pause, and one that is started is
	// paused before its first batch.
	w.stop()
	w = b.startWorker()
	behind(w, sent-stored)
	b.eventually("it has the partitions", func() (bool, string) {
		n := w.metric("orderhub_ingest_assigned_partitions")
		return n == 2, fmt.Sprint(n)
	})
	b.produce(0, order(t, "later", "a"))
	behind(w, sent-stored+1)
	require.Equal(t, stored, b.count("orders"))

	b.exec(`DELETE FROM ingest_pauses`)
	b.drained()
	require.Equal(t, sent+1, b.count("orders"))
	b.eventually("each is counted once", func() (bool, string) {
		n := w.metric("orderhub_ingest_records_total", "outcome=stored")
		return n == sent+1-stored, fmt.Sprint(n)
	})
	require.Zero(t, w.metric("orderhub_ingest_paused"))
	_, body = w.readiness()
	require.NotContains(t, body, "paused since")
}
