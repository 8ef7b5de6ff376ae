package kafkatest

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
)

// isBlocked is an error while a worker thinks that all is well.
func isBlocked(w *service) error {
	if w.ready() == nil {
		return errors.New("it is ready")
	}
	return nil
}

// testBrokersDie kills brokers under load, each in turn and two together.
func testBrokersDie(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	finish := s.underLoad(400)
	s.worker()
	w := s.worker()
	s.flows("before")
	for _, broker := range cluster.Brokers {
		require.NoError(t, broker.Kill())
		s.flows(fmt.Sprint("without broker ", broker.ID))
		require.NoError(t, broker.Start(bounded(t)))
		s.inSync()
	}
	// Of two replicas that must have a record only one is left, and no majority:
	// all stands still, and goes on.
	one, two := cluster.Brokers[0], cluster.Brokers[1]
	require.NoError(t, errors.Join(one.Kill(), two.Kill()))
	eventually(t, "the worker says that the brokers are away", func() error { return isBlocked(w) })
	restarted := make(chan error, 2)
	for _, broker := range []*apachekafka.Broker{one, two} {
		go func() { restarted <- broker.Start(bounded(t)) }()
	}
	require.NoError(t, errors.Join(<-restarted, <-restarted))
	s.flows("two killed and back")
	finish()
	s.exact()
}

// testLeadersMove moves partitions' leaders and the group's coordinator, by
// stopping the broker that has them, by elections, and by freezing it.
func testLeadersMove(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	finish := s.underLoad(400)
	s.worker()
	s.worker()
	s.flows("before")

	coordinator := s.coordinator()
	require.NoError(t, coordinator.Stop(bounded(t), syscall.SIGTERM))
	s.flows("the coordinator was stopped")
	require.NotEqual(t, coordinator.ID, s.coordinator().ID)
	require.NoError(t, coordinator.Start(bounded(t)))
	s.inSync()

	before := s.leaders()
	eventually(t, "the preferred leaders are elected", func() error {
		_, err := s.progress.Admin().ElectLeaders(bounded(t), kadm.ElectPreferredReplica, nil)
		if err != nil {
			return err
		}
		if after := s.leaders(); fmt.Sprint(after) == fmt.Sprint(before) {
			return fmt.Errorf("the leaders are still %v", after)
		}
		return nil
	})
	s.flows("leaders were elected")

	coordinator = s.coordinator()
	require.NoError(t, coordinator.Pause())
	s.flows("the coordinator is frozen")
	require.NoError(t, coordinator.Resume())
	s.inSync()
	s.flows("it is back")

	// All replicas move to other brokers, leaders first.
	var move kadm.AlterPartitionAssignmentsReq
	for partition := range int32(partitions) {
		move.Assign(s.world.Topic, partition, []int32{1 + (partition+2)%3, 1 + partition%3})
	}
	_, err := s.progress.Admin().AlterPartitionAssignments(bounded(t), move)
	require.NoError(t, err)
	s.flows("replicas were moved")
	finish()
	s.exact()
}

// coordinator is the broker that looks after the group.
func (s *stage) coordinator() (broker *apachekafka.Broker) {
	s.t.Helper()
	eventually(s.t, "the group has a coordinator", func() error {
		found := s.progress.Admin().FindGroupCoordinators(bounded(s.t), s.world.Group)[s.world.Group]
		if found.Err != nil {
			return found.Err
		}
		broker = s.cluster.Brokers[found.NodeID-1]
		return nil
	})
	return broker
}

// leaders are the brokers that lead the partitions of the orders.
func (s *stage) leaders() (leaders []int32) {
	s.t.Helper()
	for _, partition := range s.partitions() {
		leaders = append(leaders, partition.Leader)
	}
	return leaders
}

func (s *stage) partitions() []kadm.PartitionDetail {
	s.t.Helper()
	listed, err := s.progress.Admin().ListTopics(bounded(s.t), s.world.Topic)
	require.NoError(s.t, err)
	return listed[s.world.Topic].Partitions.Sorted()
}

// inSync waits until all replicas have everything, so that another broker may
// die.
func (s *stage) inSync() {
	s.t.Helper()
	began := time.Now()
	eventually(s.t, "all replicas are in sync", func() error {
		listed, err := s.progress.Admin().ListTopicsWithInternal(bounded(s.t))
		if err != nil {
			return err
		}
		for _, topic := range listed.Sorted() {
			for _, p := range topic.Partitions.Sorted() {
				if len(p.ISR) < len(p.Replicas) {
					return fmt.Errorf("%s/%d: %v of %v", topic.Topic, p.Partition, p.ISR, p.Replicas)
				}
			}
		}
		return nil
	})
	s.t.Logf("in sync after %s", time.Since(began).Round(10*time.Millisecond))
}
