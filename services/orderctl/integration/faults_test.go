package integration

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// crash lets an actor of the tests die: after so many requests that write, all
// further ones are refused, so that nothing of what it still does gets in.
type crash struct {
	mu   sync.Mutex
	left int // -1: no crash
	on   bool
}

const refused = 53 // TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which no client tries again

// crashes prepares the broker for crashes.
func (w *world) crashes() *crash {
	c := &crash{left: -1}
	cluster := w.broker.Cluster()
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.EndTxn} {
		cluster.ControlKey(int16(key), func(request kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			if c.pass() {
				return nil, nil, false
			}
			return refusal(request), nil, true
		})
	}
	return c
}

func (c *crash) pass() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < 0 {
		return true
	}
	if c.left == 0 {
		c.on = true
		return false
	}
	c.left--
	return true
}

// after arms a crash, over ends it and says whether it came.
func (c *crash) after(requests int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.on = requests, false
}

func (c *crash) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = -1
	return c.on
}

func refusal(request kmsg.Request) kmsg.Response {
	switch asked := request.(type) {
	case *kmsg.ProduceRequest:
		answer := asked.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range asked.Topics {
			of := kmsg.NewProduceResponseTopic()
			of.Topic, of.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewProduceResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, 29 // TOPIC_AUTHORIZATION_FAILED
				of.Partitions = append(of.Partitions, part)
			}
			answer.Topics = append(answer.Topics, of)
		}
		return answer
	case *kmsg.InitProducerIDRequest:
		answer := asked.ResponseKind().(*kmsg.InitProducerIDResponse)
		answer.ErrorCode = refused
		return answer
	case *kmsg.EndTxnRequest:
		answer := asked.ResponseKind().(*kmsg.EndTxnResponse)
		answer.ErrorCode = refused
		return answer
	case *kmsg.AddPartitionsToTxnRequest:
		answer := asked.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
		answer.ErrorCode = refused
		for _, t := range asked.Topics {
			of := kmsg.NewAddPartitionsToTxnResponseTopic()
			of.Topic = t.Topic
			for _, p := range t.Partitions {
				part := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				part.Partition, part.ErrorCode = p, refused
				of.Partitions = append(of.Partitions, part)
			}
			answer.Topics = append(answer.Topics, of)
		}
		return answer
	}
	panic("no request that writes")
}
