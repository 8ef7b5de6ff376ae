package dlq

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
)

// Write writes letters as the worker does: each into the partition that its id decides, so
// that compaction keeps one of a letter that is written twice, and cut as far as the topic
// takes it. It returns when all are acknowledged. After an error it can be called again.
func (q *Queue) Write(ctx context.Context, letters []deadletter.Letter) error {
	if len(letters) == 0 {
		return nil
	}
	partitions, err := q.client.Partitions(ctx, q.opts.Topic)
	if err != nil {
		return err
	}
	byKey := kgo.StickyKeyPartitioner(nil).ForTopic(q.opts.Topic) // as kafkago.Balancer, the worker's
	recordOf := func(l *deadletter.Letter) *kgo.Record {
		r := &kgo.Record{Topic: q.opts.Topic, Key: []byte(l.ID), Value: l.Value}
		for _, h := range l.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader(h))
		}
		r.Partition = int32(byKey.Partition(r, int(partitions)))
		return r
	}
	for len(letters) > 0 {
		var records []*kgo.Record
		for size := 0; len(records) < len(letters); {
			l := &letters[len(records)]
			if size += l.Size(); size > chunkBytes && len(records) > 0 {
				break
			}
			records = append(records, recordOf(l))
		}
		for i, p := range q.client.produceApart(ctx, records) {
			for tooLarge(p.Err) && letters[i].Shorten() {
				p = q.client.Produce(ctx, recordOf(&letters[i]))[0]
			}
			if p.Err != nil {
				return p.Err
			}
		}
		letters = letters[len(records):]
	}
	return nil
}
