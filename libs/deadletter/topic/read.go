package topic

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

const (
	// inParallel is how many partitions are read at once: their answers are
	// what reading takes of memory.
	inParallel = 8
	// answerBytes is how much of a partition one answer brings; a larger batch
	// comes alone.
	answerBytes = 4 << 20
	// perRecord is a guess, so that a few records are not fetched with megabytes
	// behind them.
	perRecord = 16 << 10
	// attempts is how often a fetch is tried, with a pause that grows.
	attempts   = 6
	firstPause = 100 * time.Millisecond
	// followPause is between two looks at a partition that has nothing new.
	followPause = 200 * time.Millisecond
)

// Gap is a range of offsets that were gone when they were to be read.
type Gap struct {
	Partition int32
	Span
}

// Read hands out the records in the spans of each partition, in the order of
// their offsets. Partitions are read in parallel: handle is called for several
// partitions at once, and must be safe for that; its error ends the reading. A
// record and its bytes are the caller's to keep.
//
// The gaps are what the broker had dropped by the time it was to be read.
func (c *Client) Read(ctx context.Context, topic string, spans map[int32][]Span, handle func(*kgo.Record) error) ([]Gap, error) {
	return c.read(ctx, topic, spans, handle, false)
}

func (c *Client) read(ctx context.Context, topic string, spans map[int32][]Span, handle func(*kgo.Record) error, scan bool) ([]Gap, error) {
	r := &reading{client: c, topic: topic, handle: handle, scan: scan, decompress: kgo.DefaultDecompressor()}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inParallel)
	for partition, wanted := range spans {
		group.Go(func() error {
			for _, span := range wanted {
				if err := r.span(ctx, partition, span); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return r.gaps, err
}

// Scan is Read for what looks at each record and keeps nothing of it: the record,
// its bytes and its headers' names are valid only until handle returns.
func (c *Client) Scan(ctx context.Context, topic string, spans map[int32][]Span, handle func(*kgo.Record) error) ([]Gap, error) {
	return c.read(ctx, topic, spans, handle, true)
}

// Follow hands out the records from the given offsets on, and those that come,
// until the context ends or handle fails. It never returns nil.
func (c *Client) Follow(ctx context.Context, topic string, from map[int32]int64, handle func(*kgo.Record) error) error {
	r := &reading{client: c, topic: topic, handle: handle, decompress: kgo.DefaultDecompressor()}
	group, ctx := errgroup.WithContext(ctx)
	for partition, offset := range from {
		group.Go(func() error {
			for {
				next, err := r.step(ctx, partition, Span{From: offset, To: -1}, answerBytes)
				if err != nil {
					return err
				}
				if next == offset {
					if err := sleep(ctx, followPause); err != nil {
						return err
					}
				}
				offset = next
			}
		})
	}
	return group.Wait()
}

// reading is one Read or Follow.
type reading struct {
	client     *Client
	topic      string
	handle     func(*kgo.Record) error
	scan       bool // records need not last
	decompress kgo.Decompressor

	mu      sync.Mutex
	leaders map[int32]int32
	id      [16]byte
	gaps    []Gap
}

func (r *reading) span(ctx context.Context, partition int32, span Span) error {
	empty := 0
	for span.From < span.To {
		size := int64(answerBytes)
		if n := span.To - span.From; n < answerBytes/perRecord {
			size = n * perRecord
		}
		next, err := r.step(ctx, partition, span, int32(size))
		if err != nil {
			return err
		}
		if next > span.From {
			span.From, empty = next, 0
			continue
		}
		// The broker may need a moment, as after a change of the leader.
		if empty++; empty > attempts {
			return fmt.Errorf("topic %s, partition %d: the broker gives nothing at offset %d, though its end is at %d or later", r.topic, partition, span.From, span.To)
		}
		if err := sleep(ctx, firstPause); err != nil {
			return err
		}
	}
	return nil
}

// step fetches once and says where to go on. A span's To of -1 has no end.
func (r *reading) step(ctx context.Context, partition int32, span Span, size int32) (int64, error) {
	answer, err := r.fetch(ctx, partition, span.From, size)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return r.outOfRange(ctx, partition, span)
	}
	if err != nil {
		return 0, fmt.Errorf("topic %s, partition %d, offset %d: %w", r.topic, partition, span.From, err)
	}
	if r.scan && plain(answer) {
		return r.pass(ctx, partition, span, answer)
	}
	records, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: span.From, IsolationLevel: kgo.ReadCommitted(), Topic: r.topic, Partition: partition,
	}, answer, r.decompress, nil)
	for _, record := range records.Records {
		if span.To >= 0 && record.Offset >= span.To {
			return span.To, nil
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := r.handle(record); err != nil {
			return 0, err
		}
	}
	if records.Err != nil {
		return 0, fmt.Errorf("topic %s, partition %d, offset %d: unreadable batch: %w", r.topic, partition, next, records.Err)
	}
	return next, nil
}

// errEnd ends the reading of an answer at the span's end.
var errEnd = errors.New("the span ends")

// pass goes over the records of an answer without making one of each.
func (r *reading) pass(ctx context.Context, partition int32, span Span, answer *kmsg.FetchResponseTopicPartition) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	record := &kgo.Record{Topic: r.topic, Partition: partition}
	next, err := batches(answer.RecordBatches, record, span.From, r.decompress, func(record *kgo.Record) error {
		if span.To >= 0 && record.Offset >= span.To {
			return errEnd
		}
		return r.handle(record)
	})
	if errors.Is(err, errEnd) {
		return span.To, nil
	}
	if broken, ok := errors.AsType[unreadable](err); ok {
		return 0, fmt.Errorf("topic %s, partition %d, offset %d: unreadable batch: %w", r.topic, partition, next, broken.error)
	}
	return next, err
}

// outOfRange goes on at the partition's start where that has moved on.
func (r *reading) outOfRange(ctx context.Context, partition int32, span Span) (int64, error) {
	bounds, err := r.client.Bounds(ctx, r.topic)
	if err != nil {
		return 0, err
	}
	start := bounds[partition].From
	if start <= span.From {
		return 0, fmt.Errorf("topic %s, partition %d: ends at offset %d now, before %d: it was made anew or lost its end while it was read; run the command again", r.topic, partition, bounds[partition].To, span.From)
	}
	gap := Gap{Partition: partition, Span: Span{From: span.From, To: start}}
	if span.To >= 0 {
		gap.To = min(start, span.To)
	}
	r.mu.Lock()
	r.gaps = append(r.gaps, gap)
	r.mu.Unlock()
	return gap.To, nil
}

// fetch asks the partition's leader, and asks again where waiting helps.
func (r *reading) fetch(ctx context.Context, partition int32, offset int64, size int32) (*kmsg.FetchResponseTopicPartition, error) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		answer, err := r.fetchOnce(ctx, partition, offset, size)
		if err == nil || attempt == attempts || ctx.Err() != nil || errors.Is(err, kerr.OffsetOutOfRange) || !kerr.IsRetriable(err) && isAnswer(err) {
			return answer, err
		}
		r.mu.Lock()
		r.leaders = nil
		r.mu.Unlock()
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		pause *= 2
	}
}

// isAnswer tells a broker's word from a connection that failed.
func isAnswer(err error) bool {
	_, ok := errors.AsType[*kerr.Error](err)
	return ok || errors.Is(err, ErrNoTopic)
}

func (r *reading) fetchOnce(ctx context.Context, partition int32, offset int64, size int32) (*kmsg.FetchResponseTopicPartition, error) {
	leader, id, err := r.leader(ctx, partition)
	if err != nil {
		return nil, err
	}
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = partition, offset, size
	asked := kmsg.NewFetchRequestTopic()
	asked.Topic, asked.TopicID, asked.Partitions = r.topic, id, []kmsg.FetchRequestTopicPartition{part}
	request := kmsg.NewPtrFetchRequest()
	request.ReplicaID, request.MaxBytes, request.MinBytes, request.MaxWaitMillis = -1, size, 1, 0
	request.IsolationLevel, request.SessionEpoch = 1, -1 // committed records, no session
	request.Topics = []kmsg.FetchRequestTopic{asked}
	response, err := r.client.client.Broker(int(leader)).RetriableRequest(ctx, request)
	if err != nil {
		return nil, err
	}
	answer, ok := response.(*kmsg.FetchResponse)
	if !ok {
		return nil, fmt.Errorf("the broker answers a fetch with %T", response)
	}
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return nil, err
	}
	for _, t := range answer.Topics {
		for i := range t.Partitions {
			if t.Partitions[i].Partition == partition {
				return &t.Partitions[i], kerr.ErrorForCode(t.Partitions[i].ErrorCode)
			}
		}
	}
	return nil, errors.New("the broker leaves the partition out of its answer")
}

func (r *reading) leader(ctx context.Context, partition int32) (int32, [16]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaders == nil {
		details, err := r.client.details(ctx, r.topic)
		if err != nil {
			return 0, r.id, err
		}
		r.leaders, r.id = map[int32]int32{}, details.ID
		for number, p := range details.Partitions {
			r.leaders[number] = p.Leader
		}
	}
	leader, ok := r.leaders[partition]
	if !ok || leader < 0 {
		r.leaders = nil
		return 0, r.id, kerr.LeaderNotAvailable
	}
	return leader, r.id, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
