package kafkatest

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// testOffsets moves the topic's offsets under the group's feet.
func testOffsets(on site) {
	t, cluster := on.t, on.cluster
	t.Run("RecordsDeleted", func(t *testing.T) {
		s := newOffsetStage(t, cluster)
		s.orders(20, 40)
		var at kadm.Offsets
		at.AddOffset(s.world.Topic, 0, 30, -1)
		_, err := s.progress.Admin().DeleteRecords(bounded(t), at)
		require.NoError(t, err)
		s.orders(40, 45)
		s.afterGap(45, 10, 35)
	})
	t.Run("RecordsTooOld", func(t *testing.T) {
		s := newOffsetStage(t, cluster)
		s.orders(20, 30)
		s.alter("retention.ms", "1")
		eventually(t, "retention has removed all records", func() error {
			starts, err := s.progress.Admin().ListStartOffsets(bounded(t), s.world.Topic)
			if at := starts[s.world.Topic][0].Offset; err == nil && at != 30 {
				return fmt.Errorf("the first offset is %d", at)
			}
			return err
		})
		s.alter("retention.ms", "-1")
		s.orders(30, 35)
		s.afterGap(35, 10, 25)
	})
	t.Run("TopicMadeAnewWhileAway", func(t *testing.T) {
		s := newOffsetStage(t, cluster)
		s.makeAnew()
		s.orders(18, 25) // two of them are stored
		w := s.worker()
		s.done(7)
		require.Equal(t, 25, s.stored())
		require.EqualValues(t, 5, w.metric(`orderhub_ingest_records_total{outcome="stored"}`))
		require.EqualValues(t, 2, w.metric(`orderhub_ingest_records_total{outcome="duplicate"}`))
	})
	t.Run("TopicMadeAnewWhileRunning", func(t *testing.T) {
		s := newStage(t, cluster, 1)
		s.worker()
		s.orders(0, 20)
		s.done(20)
		s.makeAnew()
		s.orders(18, 25)
		s.done(7)
		require.Equal(t, 25, s.stored())
	})
	t.Run("PartitionsAdded", func(t *testing.T) {
		s := newStage(t, cluster, 2)
		s.worker()
		s.worker()
		s.orders(0, 20)
		require.NoError(t, s.progress.Drain(bounded(t)))
		_, err := s.progress.Admin().UpdatePartitions(bounded(t), partitions, s.world.Topic)
		require.NoError(t, err)
		eventually(t, "each broker knows the partitions", func() error { return s.eachBrokerKnows(partitions) })
		require.NoError(t, s.load("more").Send(bounded(t), 300))
		eventually(t, "all partitions are asked for", func() error {
			ends, err := s.progress.Ends(bounded(t))
			if err == nil && len(ends) != partitions {
				return fmt.Errorf("%d have ends", len(ends))
			}
			return err
		})
		require.NoError(t, s.progress.Drain(bounded(t)))
		s.exact()
	})
}

// eachBrokerKnows is an error as long as a broker does not know that the topic has so
// many partitions, all with leaders: they learn it one after the other.
func (s *stage) eachBrokerKnows(partitions int) error {
	client, err := ledger.Client(s.world.Brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	brokers, err := kadm.NewClient(client).ListBrokers(bounded(s.t))
	if err != nil {
		return err
	}
	for _, broker := range brokers.NodeIDs() {
		request := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &s.world.Topic
		request.Topics = append(request.Topics, topic)
		answer, err := request.RequestWith(bounded(s.t), client.Broker(int(broker)))
		if err != nil {
			return err
		}
		led := 0
		for _, partition := range answer.Topics[0].Partitions {
			if partition.ErrorCode == 0 && partition.Leader >= 0 {
				led++
			}
		}
		if led != partitions {
			return fmt.Errorf("broker %d knows %d", broker, led)
		}
	}
	return nil
}

// newOffsetStage is one whose group has taken 20 orders from its only partition,
// and whose worker is stopped.
func newOffsetStage(t *testing.T, cluster *apachekafka.Cluster) *stage {
	t.Helper()
	s := newStage(t, cluster, 1)
	w := s.worker()
	s.orders(0, 20)
	s.done(20)
	w.stop(syscall.SIGTERM)
	return s
}

// orders sends orders with numbers in a range to the first partition.
func (s *stage) orders(from, to int) {
	s.t.Helper()
	client, err := ledger.Client(s.world.Brokers)
	require.NoError(s.t, err)
	defer client.Close()
	var records []*kgo.Record
	for n := from; n < to; n++ {
		uid := fmt.Sprint("order-", n)
		records = append(records, &kgo.Record{Topic: s.world.Topic, Key: []byte(uid), Value: []byte(ledger.Content(uid, 0))})
	}
	require.NoError(s.t, client.ProduceSync(bounded(s.t), records...).FirstErr())
}

// done waits until the group has committed so far in the first partition.
func (s *stage) done(offset int64) {
	s.t.Helper()
	eventually(s.t, fmt.Sprint("offset ", offset, " is committed"), func() error {
		at, err := s.progress.Committed(bounded(s.t))
		if err == nil && at[0] != offset {
			return fmt.Errorf("committed is %s", at)
		}
		return err
	})
}

// afterGap has a worker go on where offsets are gone.
func (s *stage) afterGap(end, gap int64, stored int) {
	s.t.Helper()
	w := s.worker()
	s.done(end)
	require.EqualValues(s.t, gap, w.metric("orderhub_ingest_offset_gap_records_total"))
	require.Equal(s.t, stored, s.stored())
}

func (s *stage) alter(name, value string) {
	s.t.Helper()
	s.alterTopic(s.world.Topic, map[string]string{name: value})
}

func (s *stage) alterTopic(topic string, settings map[string]string) {
	s.t.Helper()
	var changes []kadm.AlterConfig
	for name, value := range settings {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: new(value)})
	}
	answers, err := s.progress.Admin().AlterTopicConfigs(bounded(s.t), changes, topic)
	require.NoError(s.t, err)
	for _, answer := range answers {
		require.NoError(s.t, answer.Err)
	}
}

// makeAnew deletes the topic of the orders and makes it again.
func (s *stage) makeAnew() {
	s.t.Helper()
	_, err := s.progress.Admin().DeleteTopic(bounded(s.t), s.world.Topic)
	require.NoError(s.t, err)
	s.createTopic(s.world.Topic, 1, nil)
}
