package kafkatest

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// listed is a letter as orderctl lists it.
type listed struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Reason   string `json:"reason"`
	Key      string `json:"key"`
	Redrives int    `json:"redrive_count"`
}

// letters are those with a status, by id.
func (s *stage) letters(status string) map[string]listed {
	s.t.Helper()
	stdout, stderr, code := s.tryOrderctl("dlq", "list", "--status", status, "--output", "json")
	for strings.Contains(stderr, "run the command again") { // a copy took a letter's place meanwhile
		stdout, stderr, code = s.tryOrderctl("dlq", "list", "--status", status, "--output", "json")
	}
	require.Contains(s.t, []int{0, 3}, code, stderr)
	byID := map[string]listed{}
	for _, l := range each[listed](s.t, stdout) {
		if strings.HasPrefix(l.ID, s.world.DLQ+"/") {
			continue // a record that ended a segment: it has no source, and its key is masked
		}
		require.NotContains(s.t, byID, l.ID, "a letter is listed twice")
		byID[l.ID] = l
	}
	return byID
}

// testLetters looks at letters and deals with them while the broker compacts
// their topic.
func testLetters(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, 3)
	s.alterTopic(s.world.DLQ, quickCompaction)
	w := s.worker()
	s.broken(0, 30)
	s.orders(0, 1)
	s.orders(0, 1)
	s.conflict(0)
	require.NoError(t, s.progress.Drain(bounded(t)))
	open := s.letters("open")
	require.Len(t, open, 31)
	s.exact()

	// All is read again, so every letter is written again; the broker drops the
	// first of each, with whole batches.
	w.stop(syscall.SIGTERM)
	s.rewind()
	w = s.worker()
	require.NoError(t, s.progress.Drain(bounded(t)))
	require.Equal(t, open, s.letters("open"))
	s.compacted(s.world.DLQ)
	require.Equal(t, open, s.letters("open"))

	// Redriven letters fail again, as letters of their own, with the first one's
	// id as origin.
	ids := ids(open, "not_json")
	s.orderctl(append([]string{"dlq", "redrive", "--why", "try again"}, ids[:10]...)...)
	require.NoError(t, s.progress.Drain(bounded(t)))
	require.Len(t, s.letters("resolved"), 10)
	again := s.letters("open")
	require.Len(t, again, 31)
	redriven := 0
	for id, l := range again {
		if _, old := open[id]; !old {
			require.Equal(t, 1, l.Redrives)
			redriven++
		}
	}
	require.Equal(t, 10, redriven)

	// What was decided stands, though its letters are written once more, and is
	// undone.
	s.orderctl(append([]string{"dlq", "discard", "--why", "of no use"}, ids[10:20]...)...)
	s.orderctl("dlq", "undo", ids[10])
	w.stop(syscall.SIGTERM)
	s.rewind()
	s.worker()
	require.NoError(t, s.progress.Drain(bounded(t)))
	s.compacted(s.world.DLQ)
	resolved := s.letters("resolved")
	require.Len(t, resolved, 19)
	require.NotContains(t, resolved, ids[10])
	stillOpen := s.letters("open")
	require.Len(t, stillOpen, 22)

	// Purged, they leave the topic itself.
	eventually(t, "all that is resolved is purged", func() error {
		// What the broker moves meanwhile is left to the next time.
		_, stderr, code := s.tryOrderctl("dlq", "purge", "--resolved", "--older-than", "0s", "--yes")
		require.Contains(t, []int{0, 1, 3}, code, stderr)
		if left := s.letters("resolved"); len(left) > 0 {
			return fmt.Errorf("%d are left: %s", len(left), stderr)
		}
		return nil
	})
	require.Equal(t, stillOpen, s.letters("open"))
	s.compacted(s.world.DLQ)
	eventually(t, "purged letters are gone", func() error {
		s.compacted(s.world.DLQ)
		records, _ := s.readWithFranz(s.world.DLQ)
		for _, r := range records {
			id := strings.TrimSuffix(r.key, "/resolution")
			if _, gone := resolved[id]; gone {
				return fmt.Errorf("%s is still there, null: %t", r.key, r.null)
			}
		}
		return nil
	})
	require.Empty(t, s.letters("resolved"))
	require.Equal(t, stillOpen, s.letters("open"))
	eventually(t, "both readers see the same", func() error {
		// Between the two the broker may compact the topic once more.
		ours, theirs := s.readAsLetters(s.world.DLQ), first(s.readWithFranz(s.world.DLQ))
		if !slices.Equal(ours, theirs) {
			return fmt.Errorf("%d records: %v; franz-go reads %d: %v", len(ours), ours, len(theirs), theirs)
		}
		return nil
	})
}

func first(records []read, _ ledger.Offsets) []read { return records }

// ids of letters with a reason.
func ids(letters map[string]listed, reason string) (ids []string) {
	for id, l := range letters {
		if l.Reason == reason {
			ids = append(ids, id)
		}
	}
	return ids
}

// broken sends records that are no orders.
func (s *stage) broken(from, to int) {
	s.t.Helper()
	client, err := ledger.Client(s.world.Brokers)
	require.NoError(s.t, err)
	defer client.Close()
	var records []*kgo.Record
	for n := from; n < to; n++ {
		records = append(records, &kgo.Record{Topic: s.world.Topic, Partition: int32(n % 3), Key: fmt.Append(nil, "broken-", n), Value: fmt.Append(nil, "no order ", n)})
	}
	require.NoError(s.t, client.ProduceSync(bounded(s.t), records...).FirstErr())
}

// conflict sends another content for an order that was sent.
func (s *stage) conflict(n int) {
	s.t.Helper()
	client, err := ledger.Client(s.world.Brokers)
	require.NoError(s.t, err)
	defer client.Close()
	uid := fmt.Sprint("order-", n)
	require.NoError(s.t, client.ProduceSync(bounded(s.t), &kgo.Record{Topic: s.world.Topic, Key: []byte(uid), Value: []byte(ledger.Content(uid, 1))}).FirstErr())
}

// rewind makes the group, which has no members, read everything again.
func (s *stage) rewind() {
	s.t.Helper()
	eventually(s.t, "the group is rewound", func() error {
		ends, err := s.progress.Ends(bounded(s.t))
		if err != nil {
			return err
		}
		var start kadm.Offsets
		for partition := range ends {
			start.AddOffset(s.world.Topic, partition, 0, -1)
		}
		return s.progress.Admin().CommitAllOffsets(bounded(s.t), s.world.Group, start)
	})
}
