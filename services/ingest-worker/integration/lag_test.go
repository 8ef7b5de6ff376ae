package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// The worker cannot write, and its memory is full, so it fetches nothing. The lag grows
// with the topic nevertheless, and is over when the database is back.
func TestLagIsMeasuredWhileAWorkerIsBlocked(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	b := setupOn(t, broker.StartForTest(t, broker.Options{DefaultPartitions: 2}), server.URL(), 2)
	w := b.startWorker("INGEST_MEMORY_BYTES=1048576")
	b.produce(0, order(t, "first", "a"))
	b.drained()

	require.NoError(t, server.Pause())
	long := strings.Repeat("x", 100_000) // an unknown field, so that little is stored
	hourAgo := time.Now().Add(-time.Hour)
	for i := range 40 { // four times the memory
		value := strings.Replace(string(order(t, fmt.Sprintf("o%d", i), "a")), "{", `{"note":"`+long+`",`, 1)
		require.NoError(t, b.kafka.ProduceSync(b.ctx, &kgo.Record{Topic: ordersTopic, Partition: 1, Value: []byte(value), Timestamp: hourAgo}).FirstErr())
	}
	lag := func(records, seconds int) {
		t.Helper()
		b.eventually("the lag is measured", func() (bool, string) {
			r, s := w.metric("orderhub_ingest_lag_records", "topic=orders", "partition=1"), w.metric("orderhub_ingest_lag_seconds", "topic=orders", "partition=1")
			return r == records && s >= seconds && (seconds > 0) == (s > 0), fmt.Sprintf("%d records, %d s", r, s)
		})
	}
	lag(40, 3600)
	require.Equal(t, 1048576, w.metric("orderhub_ingest_memory_limit_bytes"))
	require.Greater(t, w.metric("orderhub_ingest_memory_bytes"), 200_000)
	require.LessOrEqual(t, w.metric("orderhub_ingest_memory_bytes"), 1048576)
	b.produce(1, order(t, "last", "a"))
	lag(41, 3600)
	require.Equal(t, 0, w.metric("orderhub_ingest_lag_records", "partition=0"))
	require.NoError(t, server.Resume())
	b.drained()
	lag(0, 0)
	b.eventually("all memory is free again", func() (bool, string) {
		used := w.metric("orderhub_ingest_memory_bytes")
		return used == 0, fmt.Sprint(used)
	})
}

// Each worker exports all partitions, those of others too, so none is missing while
// partitions move.
func TestEachWorkerMeasuresAllPartitions(t *testing.T) {
	b := setup(t, 3)
	b.produce(2, order(t, "x", "a"))
	workers := []*worker{b.startWorker(), b.startWorker()}
	b.drained()
	for _, w := range workers {
		for partition := range 3 {
			b.eventually("each partition is measured", func() (bool, string) {
				return w.hasSeries("orderhub_ingest_lag_records", fmt.Sprintf("partition=%d", partition)), ""
			})
		}
	}
}

// increase() does not see the event that creates a series, so the series that are known
// in advance exist from the start.
func TestCountersExistBeforeTheirFirstEvent(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	b.produce(0, order(t, "x", "a"))
	b.drained()
	for name, label := range map[string]string{
		"orderhub_dead_letters_total":              "reason=conflict",
		"orderhub_ingest_blocked":                  "cause=database",
		"orderhub_ingest_retries_total":            "cause=broker",
		"orderhub_ingest_skipped_records_total":    "kind=aborted",
		"orderhub_ingest_offset_gap_records_total": "partition=0",
	} {
		require.True(t, w.hasSeries(name, label), name)
		require.Zero(t, w.metric(name), name)
	}
}

// Freshness is measured of orders that are stored, not of what was stored before.
func TestTheAgeOfStoredOrders(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker()
	hourAgo := time.Now().Add(-time.Hour)
	for range 2 {
		require.NoError(t, b.kafka.ProduceSync(b.ctx, &kgo.Record{Topic: ordersTopic, Value: order(t, "old", "a"), Timestamp: hourAgo}).FirstErr())
	}
	b.drained()
	b.eventually("the duplicate is counted", func() (bool, string) {
		return w.metric("orderhub_ingest_records_total", "outcome=duplicate") == 1, ""
	})
	require.InDelta(t, time.Hour.Seconds(), w.metric("orderhub_ingest_stored_age_seconds"), deadline.Seconds())
}
