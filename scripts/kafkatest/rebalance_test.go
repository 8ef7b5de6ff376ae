package kafkatest

import (
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// testRebalance has workers join, leave, die and fall silent under load.
func testRebalance(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	finish := s.underLoad(400)
	first := s.worker()
	s.flows("one worker")
	second, third := s.worker(), s.worker()
	s.flows("two more joined")
	second.stop(syscall.SIGTERM)
	s.flows("one left")
	third.stop(syscall.SIGKILL)
	s.flows("one died")
	s.worker()
	s.flows("one joined")
	// Its partitions are another's when it wakes, and what it had in hand is not
	// its own any more.
	first.pause()
	s.flows("one is silent")
	first.resume()
	eventually(t, "the worker that was silent is a member again", first.ready)
	s.flows("it is back")
	finish()
	s.exact()
}

// testBrokerRestarts kills the only broker under load, freezes it, and stops it.
func testBrokerRestarts(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	broker := cluster.Brokers[0]
	finish := s.underLoad(400)
	s.worker()
	w := s.worker()
	s.flows("before")
	require.NoError(t, broker.Kill())
	eventually(t, "the worker says that the broker is away", func() error { return isBlocked(w) })
	require.NoError(t, broker.Start(bounded(t)))
	s.flows("killed and back")
	require.NoError(t, broker.Pause())
	time.Sleep(4 * time.Second) // longer than the workers' session
	require.NoError(t, broker.Resume())
	s.flows("frozen and back")
	require.NoError(t, broker.Stop(bounded(t), syscall.SIGTERM))
	require.NoError(t, broker.Start(bounded(t)))
	s.flows("stopped and back")
	finish()
	s.exact()
}
