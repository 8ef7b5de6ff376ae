package kafkatest

import (
	"encoding/hex"
	"math/rand/v2"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// testLargeLetters has the broker refuse a letter that is larger than its topic
// takes: it is cut until it fits, and those around it are written whole.
func testLargeLetters(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, 1)
	const most = 100_000
	s.alterTopic(s.world.DLQ, map[string]string{"max.message.bytes": "100000"})
	noise := make([]byte, 250_000) // nothing that compresses
	random := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	values := []string{"small", "no order " + hex.EncodeToString(noise), "small too"}
	client, err := ledger.Client(s.world.Brokers)
	require.NoError(t, err)
	defer client.Close()
	var records []*kgo.Record
	for _, value := range values {
		records = append(records, &kgo.Record{Topic: s.world.Topic, Value: []byte(value)})
	}
	require.NoError(t, client.ProduceSync(bounded(t), records...).FirstErr())
	s.orders(0, 1)
	s.worker()
	require.NoError(t, s.progress.Drain(bounded(t)))
	require.Equal(t, 1, s.stored())
	letters := s.readAsLetters(s.world.DLQ)
	require.Len(t, letters, len(values))
	for _, l := range letters {
		switch l.value {
		case values[0], values[2]:
		default:
			require.Less(t, len(l.value), most)
			require.NotEmpty(t, l.value)
			require.Equal(t, values[1][:len(l.value)], l.value)
			shown := s.orderctl("dlq", "show", l.key, "--output", "json")
			require.Contains(t, shown, `500009`, "the record's own size")
		}
	}
}
