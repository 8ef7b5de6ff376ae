package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	maxBatchRecords = 1000
	// maxBatchBytes keeps a batch below what topics take by default (1 MiB).
	maxBatchBytes = 900_000
	// overhead is what a record takes in a batch besides key and value, at most.
	overhead = 32

	attemptTimeout = 15 * time.Second
	// stopTimeout is how long a batch that is under way is waited for when
	// the work is to stop: what the broker has then, is known.
	stopTimeout = 5 * time.Second
	longestWait = 2 * time.Second
)

// lane sends the records of one partition, a batch at a time, so that they keep
// their order also where a batch has to be sent again.
type lane struct {
	*Publisher
	partition int
	pending   []Record // the router's
	size      int      // of pending, in bytes
	queue     chan []Record
}

// add takes a record and passes a batch on when it is full.
func (l *lane) add(ctx context.Context, r Record) error {
	size := len(r.Key) + len(r.Value) + overhead
	if len(l.pending) > 0 && (len(l.pending) == maxBatchRecords || l.size+size > maxBatchBytes) {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	l.pending = append(l.pending, r)
	l.size += size
	return nil
}

// flush passes on what is there.
func (l *lane) flush(ctx context.Context) error {
	if len(l.pending) == 0 {
		return nil
	}
	select {
	case l.queue <- l.pending:
		l.pending, l.size = nil, 0
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run sends batches until the queue is closed, or the context ends.
func (l *lane) run(ctx context.Context) error {
	for batch := range l.queue {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := l.send(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// send has a batch acknowledged. A batch that the broker refuses for what is in
// it is halved until the record is found.
func (l *lane) send(ctx context.Context, batch []Record) error {
	backoff := retry.NewBackoff(longestWait)
	for start := time.Now(); ; {
		offset, err := l.produce(ctx, batch)
		switch {
		case err == nil:
			return l.acked(batch, offset)
		case isRecordsFault(err) && len(batch) > 1:
			half := len(batch) / 2
			if err := l.send(ctx, batch[:half]); err != nil {
				return err
			}
			return l.send(ctx, batch[half:])
		case isRecordsFault(err):
			l.tell(func() { l.opts.Refused(batch[0], err) })
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !isPassing(err) || time.Since(start) > l.opts.GiveUpAfter:
			return fmt.Errorf("partition %d: %w", l.partition, err)
		}
		l.tell(func() { l.opts.Retrying(err) })
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

func (l *lane) acked(batch []Record, offset int64) (err error) {
	acks := make([]Ack, len(batch))
	for i, r := range batch {
		acks[i] = Ack{Record: r, Partition: l.partition, Offset: offset + int64(i)}
	}
	l.tell(func() { err = l.opts.Acked(acks) })
	return err
}

// tell has the lanes call back one at a time.
func (l *lane) tell(call func()) {
	l.report.Lock()
	defer l.report.Unlock()
	call()
}

// produce sends a batch once and returns the first record's offset. It goes on
// for a while when ctx ends.
func (l *lane) produce(ctx context.Context, batch []Record) (int64, error) {
	attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(stopTimeout, cancel)
		context.AfterFunc(attempt, func() { timer.Stop() })
	})()

	request := &kafka.ProduceRequest{Topic: l.opts.Topic, Partition: l.partition, RequiredAcks: kafka.RequireAll}
	records := make([]kafka.Record, len(batch))
	now := time.Now()
	for i, r := range batch {
		records[i] = kafka.Record{Time: now, Key: kafka.NewBytes(r.Key), Value: kafka.NewBytes(r.Value)}
		if len(r.Value) > maxBatchBytes {
			request.Compression = kafka.Zstd // then it may still fit what the topic takes
		}
	}
	request.Records = kafka.NewRecordReader(records...)
	answer, err := l.client.Produce(attempt, request)
	if err != nil {
		return 0, err
	}
	return answer.BaseOffset, answer.Error
}

// isRecordsFault is true where the broker would take a batch with other records.
func isRecordsFault(err error) bool {
	return errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.RecordListTooLarge) || errors.Is(err, kafka.InvalidRecord)
}

// isPassing is true where the same request may succeed later: all but what the
// broker answers with an error that will not go away.
func isPassing(err error) bool {
	var answer kafka.Error
	return !errors.As(err, &answer) || answer.Temporary()
}
