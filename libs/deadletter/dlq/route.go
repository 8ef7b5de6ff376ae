package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// Target is where letters are sent. The zero value is the topic and the partition of
// each letter's source.
type Target struct {
	// Topic is another topic; empty: the source's. In another topic the key decides on
	// the partition, unless Partition does.
	Topic string
	// Partition is a partition of the topic; nil: the source's.
	Partition *int32
	// ByKey lets the source record's key decide on the partition, as Kafka's producers do.
	ByKey bool
}

// NewTarget makes a target; a partition below 0 is none.
func NewTarget(topic string, partition int32, byKey bool) Target {
	t := Target{Topic: topic, ByKey: byKey}
	if partition >= 0 {
		t.Partition = &partition
	}
	return t
}

// IsSource reports whether letters go back to their sources.
func (t Target) IsSource() bool { return t == Target{} }

// String is the target for people and the audit log.
func (t Target) String() string {
	text := "the source's topic"
	if t.Topic != "" {
		text = "topic " + t.Topic
	}
	switch {
	case t.Partition != nil:
		return fmt.Sprintf("%s, partition %d", text, *t.Partition)
	case t.ByKey || t.Topic != "":
		return text + ", partition by key"
	}
	return text + " and partition"
}

// otherTarget names the flags that choose a target.
const otherTarget = "send it elsewhere with --to-topic, --to-partition or --by-key"

// ErrTarget says that nothing can be sent to a target.
var ErrTarget = errors.New("nothing can be sent there")

// Errors that keep a letter from being sent to a target.
var (
	ErrNoSource = errors.New("its headers do not say where it came from: name a topic with --to-topic")
	ErrGone     = errors.New("the source's partition does not exist any more: " + otherTarget)
)

// Router finds out where letters can be sent. It is for one goroutine, and remembers
// the partitions of topics.
type Router struct {
	target      Target
	maxRedrives int
	queue       *Queue
	partitions  map[string]int32 // 0: no such topic
}

// Router checks a target. maxRedrives is how often a record may have been redriven.
func (q *Queue) Router(ctx context.Context, target Target, maxRedrives int) (*Router, error) {
	r := &Router{target: target, maxRedrives: maxRedrives, queue: q, partitions: map[string]int32{}}
	switch {
	case target.Partition != nil && target.ByKey:
		return nil, fmt.Errorf("%w: name a partition, or send by key: not both", ErrTarget)
	case slices.Contains(q.topics(), target.Topic):
		return nil, fmt.Errorf("%w: %s is a topic of dead letters", ErrTarget, target.Topic)
	case target.Topic == "":
		return r, nil
	}
	n, err := q.client.Partitions(ctx, target.Topic)
	switch {
	case errors.Is(err, ErrNoTopic):
		return nil, fmt.Errorf("%w: topic %s does not exist", ErrTarget, target.Topic)
	case err != nil:
		return nil, err
	case target.Partition != nil && *target.Partition >= n:
		return nil, fmt.Errorf("%w: topic %s has no partition %d, only 0 to %d", ErrTarget, target.Topic, *target.Partition, n-1)
	}
	r.partitions[target.Topic] = n
	return r, nil
}

// Redrivable says why a letter cannot be sent to a target, as far as the letter alone
// tells; nil if it can.
func Redrivable(l *letter.Letter, target Target, maxRedrives int) error {
	switch {
	case l.Source.Topic == "" && target.Topic == "":
		return ErrNoSource
	case l.Truncated != nil:
		return ErrTruncated
	case l.Redrives >= maxRedrives:
		return fmt.Errorf("%w (%d times; the limit is %d)", ErrTooOften, l.Redrives, maxRedrives)
	}
	return nil
}

// Route says where a letter goes, or why it cannot be sent. The error is not the letter's.
func (r *Router) Route(ctx context.Context, l *letter.Letter) (topic string, partition int32, refused, err error) {
	if refused := Redrivable(l, r.target, r.maxRedrives); refused != nil {
		return "", 0, refused, nil
	}
	if erased, err := r.queue.IsErased(l.SourceKey, l.Value); erased || err != nil {
		return "", 0, ErrErased, err
	}
	topic, partition = l.Source.Topic, l.Source.Partition
	byKey := r.target.ByKey || partition < 0
	if deadletter.IsNATS(topic) {
		topic, byKey = r.queue.opts.Orders, true
	}
	if r.target.Topic != "" {
		topic, byKey = r.target.Topic, true
	}
	if r.target.Partition != nil {
		partition, byKey = *r.target.Partition, false
	}
	n, known := r.partitions[topic]
	if !known {
		if n, err = r.queue.client.Partitions(ctx, topic); err != nil && !errors.Is(err, ErrNoTopic) {
			return "", 0, nil, err
		}
		r.partitions[topic] = n
	}
	switch {
	case n == 0:
		return "", 0, fmt.Errorf("topic %s does not exist any more: %s", topic, otherTarget), nil
	case slices.Contains(r.queue.topics(), topic): // a letter of a letter
		return "", 0, fmt.Errorf("topic %s has dead letters: %s", topic, otherTarget), nil
	case byKey:
		keyed := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
		partition = int32(keyed.Partition(&kgo.Record{Key: l.SourceKey}, int(n)))
	case partition >= n && r.target.Partition != nil:
		return "", 0, fmt.Errorf("topic %s has no partition %d", topic, partition), nil
	case partition >= n:
		return "", 0, ErrGone, nil
	}
	return topic, partition, nil, nil
}
