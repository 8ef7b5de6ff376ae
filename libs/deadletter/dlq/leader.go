package dlq

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// leaderTimeout is how long a leader may be silent before another takes its place.
	leaderTimeout   = 10 * time.Second
	leaderHeartbeat = 3 * time.Second
)

// Leader is one of several processes of which the brokers choose one: the member of a
// consumer group that holds partition 0 of the queue's topic. It reads nothing. Safe for
// concurrent use.
type Leader struct {
	client *kgo.Client

	mu   sync.Mutex
	term int  // how often this process has become the leader
	is   bool // the leader
}

// Lead joins a consumer group until Close. failed is told why the brokers refuse that; it
// is tried again.
func (q *Queue) Lead(group string, failed func(error)) (*Leader, error) {
	l := &Leader{}
	change := func(is bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			if !slices.Contains(partitions[q.opts.Topic], 0) {
				return
			}
			l.mu.Lock() // so the next leader waits for what this one is doing
			defer l.mu.Unlock()
			if l.is = is; is {
				l.term++
			}
		}
	}
	var err error
	l.client, err = kgo.NewClient(append(slices.Clone(q.client.options),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(q.opts.Topic), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(leaderTimeout), kgo.HeartbeatInterval(leaderHeartbeat),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
		kgo.WithHooks(groupErrors(failed)))...)
	if err == nil {
		l.client.PauseFetchTopics(q.opts.Topic)
	}
	return l, err
}

type groupErrors func(error)

func (f groupErrors) OnGroupManageError(err error) { f(err) }

// Do calls work if this process is the leader, with the number of its term. Another
// process becomes the leader only after work has returned, unless the brokers have not
// heard of this one for some time.
func (l *Leader) Do(work func(term int) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.is {
		return nil
	}
	return work(l.term)
}

// Close leaves the group, so that another process becomes the leader at once.
func (l *Leader) Close() { l.client.Close() }
