package kafkatest

import (
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// testExclusive has an undo take the place of a purge that has read the topic and
// is about to write, on the broker whose word decides who may: of the purge
// nothing gets in, before its first record as well as within its transaction.
func testExclusive(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, 3)
	s.worker()
	s.broken(0, 4)
	require.NoError(t, s.progress.Drain(bounded(t)))
	s.orderctl("dlq", "discard", "--all", "--yes", "--why", "tests")
	resolved := s.letters("resolved")
	require.Len(t, resolved, 4)

	client, err := dlq.NewClient(kgo.SeedBrokers(s.world.Brokers...))
	require.NoError(t, err)
	defer client.Close()
	box := dlq.New(client, dlq.Options{Topic: s.world.DLQ})
	name := "orderhub-dlq/" + s.world.DLQ
	undo := func(n int) string {
		snap, err := box.Scan(bounded(t), letter.Filter{})
		require.NoError(t, err)
		var id string
		require.NoError(t, box.Undo(bounded(t), snap, snap.Select(letter.Resolved, 0)[n:n+1], nil, func(o dlq.Outcome) {
			require.NoError(t, o.Err)
			id = o.Item.ID
		}))
		return id
	}
	purging, err := client.Exclusive(bounded(t), name)
	require.NoError(t, err)
	defer purging.Close()
	opened := undo(0)
	require.ErrorIs(t, purging.Write(bounded(t), &kgo.Record{Topic: s.world.DLQ, Key: []byte(opened)}), dlq.ErrInterfered)

	// A purge that wrote once goes on to, until somebody comes.
	purging, err = client.Exclusive(bounded(t), name)
	require.NoError(t, err)
	defer purging.Close()
	require.NoError(t, purging.Write(bounded(t), &kgo.Record{Topic: s.world.DLQ, Key: []byte("nobody's"), Value: []byte("x")}))
	again := undo(0)
	require.ErrorIs(t, purging.Write(bounded(t), &kgo.Record{Topic: s.world.DLQ, Key: []byte(again)}), dlq.ErrInterfered)

	open := s.letters("open")
	require.Contains(t, open, opened)
	require.Contains(t, open, again)
	purged := 0
	require.NoError(t, box.Purge(bounded(t), dlq.PurgeOptions{Before: time.Now().Add(time.Hour), Source: s.world.Topic}, func(string) { purged++ }))
	require.Equal(t, 2, purged)
	require.Contains(t, s.letters("open"), opened)
	require.Contains(t, s.letters("open"), again)
}
