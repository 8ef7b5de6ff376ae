package pipeline

import (
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/services/ingest-worker/internal/fetch"
)

// queue holds the records of one partition that have arrived and are in no batch yet.
// One goroutine pushes, one takes. The budget bounds it, not a count.
type queue struct {
	gate     func(context.Context) // returns when a batch may be taken, or ctx ends
	mu       sync.Mutex
	policy   *batch.Policy
	records  []*record
	position int64 // all records below it are in the queue or were taken
	taken    int64 // the position of the last take
	closed   bool
	starving bool          // the pusher waits for memory, which only a take frees
	arrived  chan struct{} // holds a token when there is something to take
	urgent   chan struct{} // holds a token when waiting for more gains nothing
}

// memory is the trigger of a batch that was flushed since there was no memory for
// more records.
const memory batch.Trigger = "memory"

func newQueue(policy *batch.Policy, gate func(context.Context)) *queue {
	return &queue{gate: gate, policy: policy, position: unknown, taken: unknown, arrived: make(chan struct{}, 1), urgent: make(chan struct{}, 1)}
}

// unknown is the position before the first one is known.
const unknown = -1

// begin sets where reading starts. Only the first call has an effect.
func (q *queue) begin(position int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.position == unknown {
		q.position, q.taken = position, position
	}
}

func (q *queue) push(r *record) {
	q.mu.Lock()
	q.records = append(q.records, r)
	q.position = r.offset + 1
	full := q.policy.Add(1, r.bytes)
	q.mu.Unlock()
	if full {
		signal(q.urgent)
	}
	signal(q.arrived)
}

// starve sets whether the pusher waits for memory, which a take would free.
func (q *queue) starve(starving bool) {
	q.mu.Lock()
	q.starving = starving
	q.mu.Unlock()
	if starving {
		signal(q.urgent)
	}
}

// untilDue returns how long it takes until the next batch is taken; 0: any moment.
func (q *queue) untilDue() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.policy.UntilNext(time.Now())
}

// advance says that nothing below position will be pushed: the offsets in between
// hold no records (control records, aborted transactions, compaction).
func (q *queue) advance(position int64) {
	q.mu.Lock()
	changed := position > q.position
	if changed {
		q.position = position
	}
	q.mu.Unlock()
	if changed {
		signal(q.arrived)
	}
}

// close says that nothing will be pushed any more.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	signal(q.arrived)
	signal(q.urgent)
}

// signal leaves a token, unless there is one.
func signal(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// take waits until a batch is to be flushed and returns all that has arrived, up to
// most records, with the offset to commit once they are done. It returns false when
// ctx ends or the queue is closed: the remaining records are left behind then.
func (q *queue) take(ctx context.Context, most int) (taken []*record, next int64, trigger batch.Trigger, ok bool) {
	q.hold(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil, 0, "", false
		case <-q.arrived:
		}
		q.gate(ctx)
		q.mu.Lock()
		if q.closed || ctx.Err() != nil {
			q.mu.Unlock()
			return nil, 0, "", false
		}
		if len(q.records) == 0 && q.position == q.taken { // an old token
			q.mu.Unlock()
			continue
		}
		if trigger = q.policy.Flush(time.Now()); q.starving {
			trigger = memory
		}
		taken, next, q.records = q.records, q.position, nil
		if len(taken) > most {
			q.records, taken = slices.Clone(taken[most:]), taken[:most:most]
			next = taken[most-1].offset + 1
			for _, r := range q.records {
				q.policy.Add(1, r.bytes)
			}
			signal(q.arrived)
		}
		q.taken = next
		q.mu.Unlock()
		return taken, next, trigger, true
	}
}

// hold waits for the period of the batch policy, unless waiting gains nothing.
func (q *queue) hold(ctx context.Context) {
	q.mu.Lock()
	wait := q.policy.UntilNext(time.Now())
	if q.starving || q.closed {
		wait = 0
	}
	select {
	case <-q.urgent: // an old token
	default:
	}
	q.mu.Unlock()
	if wait == 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.urgent:
	case <-ctx.Done():
	}
}

// rest returns what was left behind.
func (q *queue) rest() []*record {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.records
	q.records = nil
	return left
}

// record is a decoded record in the queue.
type record struct {
	ingest.Record
	offset int64
	bytes  int64      // of key and value, for the batch policy
	cost   int64      // bytes of the budget
	span   trace.Span // nil unless the record's producer sampled its trace
}

// overhead is what a record takes besides its own bytes: the decoded order's
// structs, the entry, slices and headers.
const overhead = 1 << 10

// cost estimates a record's share of memory: its bytes, the decoded order's
// strings, and its rows in the buffers of COPY.
func cost(r fetch.Record) int64 {
	size := len(r.Key) + 3*len(r.Value) + overhead
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value) + 64
	}
	return int64(size)
}

// sourceOf returns a fetched record as a source record. It shares the bytes.
func sourceOf(r fetch.Record, topic string, partition int) deadletter.Source {
	source := deadletter.Source{Topic: topic, Partition: partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		source.Headers = append(source.Headers, deadletter.Header(h))
	}
	if r.Cut != nil {
		source.Truncated = &deadletter.Truncation{Size: r.Cut.Size, SHA256: hex.EncodeToString(r.Cut.SHA256[:])}
	}
	return source
}
