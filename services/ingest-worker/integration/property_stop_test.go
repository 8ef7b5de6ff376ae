package integration

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A worker that is told to stop while the dead-letter topic takes nothing gives
// the record up uncommitted, and the next worker writes its letter.
func TestStoppingWhileTheDeadLetterTopicIsAway(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker("STOP_TIMEOUT=1s")
	b.produce(0, order(t, "a", "1"))
	b.drained()
	away := b.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dlqTopic, Err: kerr.NotEnoughReplicas, Count: -1})
	b.produce(0, order(t, "b", "1"), []byte("no order"))
	b.blocked(w, "dead_letter_topic")
	w.stop()
	require.Equal(t, int64(1), b.broker.Cluster().GroupInfo(group).Commits[ordersTopic][0].Offset, "nothing is committed past the letter")
	away.Remove()
	b.startWorker()
	b.drained()
	require.Equal(t, []byte("no order"), b.letterOf(0, 2).Value)
	require.Len(t, b.letters(), 1)
	require.Equal(t, 2, b.count("orders"))
}
