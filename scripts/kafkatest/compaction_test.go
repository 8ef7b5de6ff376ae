package kafkatest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// quickCompaction makes segments short and what is in them soon compacted.
var quickCompaction = map[string]string{
	"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "0",
}

// testCompaction has the worker read a topic that the broker has compacted:
// batches that lost records at their end, in the middle or all of them, of
// every codec, within transactions that were committed and aborted, control
// records included.
func testCompaction(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, 0)
	s.createTopic(s.world.Topic, 2, quickCompaction)
	s.createTopic(s.world.DLQ, 3, quickCompaction)
	random := rand.New(rand.NewPCG(1, 1))
	java := s.java()
	last := 1000
	for round, codec := range codecs {
		for _, m := range modes {
			java.open(s.world.Brokers, m, "compression.type="+codec, "batch.size=20000", "linger.ms=20",
				"transactional.id="+fmt.Sprint(s.world.Topic, codec))
			for range 3 {
				java.inTransaction(m, random.IntN(3) > 0, func() {
					for i := range 40 {
						n := random.IntN(60)
						if i%5 == 0 { // one that stays
							last++
							n = last
						}
						key := fmt.Sprint("order-", n)
						java.send(s.world.Topic, n%2, key, ledger.Content(fmt.Sprint(key, "-", round), 0))
					}
				})
			}
			java.command("close")
		}
	}
	s.compacted(s.world.Topic)
	s.alterTopic(s.world.Topic, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1"})

	// What is left is read alike by franz-go and by what reads dead letters.
	records, ends := s.readWithFranz(s.world.Topic)
	require.Equal(t, records, s.readAsLetters(s.world.Topic))
	total := ends[0] + ends[1]
	require.Less(t, int64(len(records)), total/3, "the topic was not compacted")
	require.Greater(t, len(records), 200, "there is little left to read")
	s.worker()
	require.NoError(t, s.progress.Drain(bounded(t)))
	expected := s.exact()
	require.Len(t, records, expected.Records)
	t.Logf("%d offsets, %d records left", total, len(records))
}

// compacted makes the broker compact a topic, and returns when it has: each key
// is left once, but for the records that had the segment rolled.
func (s *stage) compacted(topic string) {
	s.t.Helper()
	client, err := ledger.Client(s.world.Brokers)
	require.NoError(s.t, err)
	defer client.Close()
	partitionCount := int32(len(s.topicEnds(topic)))
	eventually(s.t, "topic "+topic+" is compacted", func() error {
		// A segment is closed by a record that comes after its time.
		time.Sleep(120 * time.Millisecond)
		for partition := range partitionCount {
			err := client.ProduceSync(bounded(s.t), &kgo.Record{
				Topic: topic, Partition: partition, Key: []byte(roller), Value: []byte("{}"),
			}).FirstErr()
			require.NoError(s.t, err)
		}
		records, _ := s.readWithFranz(topic)
		keys := map[string]int{}
		for _, r := range records {
			key := fmt.Sprint(r.partition, " ", r.key)
			if keys[key]++; keys[key] > 1 && r.key != roller {
				return fmt.Errorf("%s is there %d times or more", key, keys[key])
			}
		}
		return nil
	})
}

// roller is the key of records that do nothing but end a segment.
const roller = "roller"

// read is a record as a reader gives it.
type read struct {
	partition int32
	offset    int64
	key       string
	value     string
	null      bool
}

func asRead(r *kgo.Record) read {
	return read{r.Partition, r.Offset, string(r.Key), string(r.Value), r.Value == nil}
}

func (s *stage) topicEnds(topic string) ledger.Offsets {
	s.t.Helper()
	listed, err := s.progress.Admin().ListEndOffsets(bounded(s.t), topic)
	require.NoError(s.t, err)
	ends := ledger.Offsets{}
	for partition, end := range listed[topic] {
		ends[partition] = end.Offset
	}
	return ends
}

// readWithFranz reads what is committed in a topic, by partition and offset,
// with franz-go's consumer. The last offset of each partition must be a record
// or a control record.
func (s *stage) readWithFranz(topic string) (records []read, ends ledger.Offsets) {
	s.t.Helper()
	ends = s.topicEnds(topic)
	byPartition := map[int32][]read{}
	for partition, end := range ends {
		if end == 0 {
			continue
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(s.world.Brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
		require.NoError(s.t, err)
		for at := int64(0); at < end; {
			fetches := client.PollFetches(bounded(s.t))
			require.NoError(s.t, fetches.Err())
			fetches.EachRecord(func(r *kgo.Record) {
				if at = r.Offset + 1; !r.Attrs.IsControl() && r.Offset < end {
					byPartition[partition] = append(byPartition[partition], asRead(r))
				}
			})
		}
		client.Close()
	}
	for partition := range int32(len(ends)) {
		records = append(records, byPartition[partition]...)
	}
	return records, ends
}

// readAsLetters reads a topic as dead letters are read.
func (s *stage) readAsLetters(topic string) (records []read) {
	s.t.Helper()
	client, err := dlq.NewClient(kgo.SeedBrokers(s.world.Brokers...))
	require.NoError(s.t, err)
	defer client.Close()
	bounds, err := client.Bounds(bounded(s.t), topic)
	require.NoError(s.t, err)
	spans := map[int32][]dlq.Span{}
	for partition, span := range bounds {
		spans[partition] = []dlq.Span{span}
	}
	var mu sync.Mutex
	byPartition := map[int32][]read{}
	_, err = client.Read(bounded(s.t), topic, spans, func(r *kgo.Record) error {
		mu.Lock()
		defer mu.Unlock()
		byPartition[r.Partition] = append(byPartition[r.Partition], asRead(r))
		return nil
	})
	require.NoError(s.t, err)
	for partition := range int32(len(bounds)) {
		records = append(records, byPartition[partition]...)
	}
	return records
}
