package integration

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// A failure while some letters of a batch are written neither loses nor repeats
// the others: what was acknowledged is not sent again.
func TestAFailureAmongLettersRepeatsNoOther(t *testing.T) {
	b := setup(t, 1)
	var refused atomic.Int32
	b.broker.Cluster().ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.broker.Cluster().KeepControl()
		produce := request.(*kmsg.ProduceRequest)
		topic := produce.Topics[0]
		if topic.Topic == dlqTopic && topic.Partitions[0].Partition%2 == 1 && refused.Add(1) <= 6 {
			return refuseProduce(produce, kerr.NotEnoughReplicas), nil, true
		}
		return nil, nil, false
	})
	const broken = 60
	values := make([][]byte, broken)
	for i := range values {
		values[i] = fmt.Appendf(nil, "no order %d", i)
	}
	b.produce(0, values...)
	b.startWorker("KAFKA_TOPIC_PARTITIONS=4")
	b.drained()
	require.GreaterOrEqual(t, refused.Load(), int32(6), "the failure was there")
	require.Len(t, b.letters(), broken)
	ends, err := b.admin.ListEndOffsets(b.ctx, dlqTopic)
	require.NoError(t, err)
	written := int64(0)
	ends.Each(func(end kadm.ListedOffset) { written += end.Offset })
	require.EqualValues(t, broken, written, "each letter was written once")
}

// While the database is away the worker holds what its budget allows, however
// many partitions there are and however large their records.
func TestMemoryIsBoundedByBytes(t *testing.T) {
	const (
		partitions  = 16
		budget      = 8 << 20
		recordBytes = 300_000
	)
	b := setupOn(t, broker.StartForTest(t, broker.Options{DataDir: t.TempDir()}), postgres.ForTest(t), partitions)
	lock, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	defer func() { _ = lock.Rollback() }()
	_, err = lock.ExecContext(b.ctx, "LOCK TABLE orders")
	require.NoError(t, err)
	padding := strings.Repeat("x", recordBytes)
	for p := range int32(partitions) {
		for i := range 20 {
			b.produce(p, append([]byte(`{"padding":"`+padding+`",`), order(t, fmt.Sprintf("p%d-%d", p, i), "a")[1:]...))
		}
	}
	b.kafka.Close() // with the buffers it keeps
	b.connect()

	before := heap()
	w := b.startWorker(fmt.Sprintf("INGEST_MEMORY_BYTES=%d", budget), "DATABASE_WRITE_TIMEOUT=1s")
	b.blocked(w, "database")
	for range 50 { // it goes on fetching as far as it may
		require.Less(t, heap()-before, int64(3*budget), "of %d MiB in the topic", partitions*20*recordBytes>>20)
	}

	require.NoError(t, lock.Rollback())
	b.drained()
	require.Equal(t, partitions*20, b.count("orders"))
	require.Empty(t, b.letters())
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // pools give up what was not used since the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
