package pipeline

import (
	"context"
	"sync"
	"time"
)

// queue holds what has arrived of one partition and is not in a batch yet. One
// goroutine pushes, one takes. The budget bounds it, not a count.
type queue struct {
	ticking time.Time // since when there are ticks, see gathering

	mu       sync.Mutex
	records  []*record
	position int64     // all records below it are in the queue or were taken
	taken    int64     // the position that the last take went up to
	due      time.Time // when the next take is, where a load has it wait; or a time that has passed
	closed   bool
	starving bool          // the pusher waits for memory, which only a take brings
	arrived  chan struct{} // holds a token when there is something to take
	enough   chan struct{} // holds a token when nothing is gained by waiting for more
}

// newQueue returns a queue whose ticks began then: the queues of a worker have the
// same.
func newQueue(ticking time.Time) *queue {
	return &queue{ticking: ticking, position: unknown, taken: unknown, arrived: make(chan struct{}, 1), enough: make(chan struct{}, 1)}
}

// A batch of busyRecords tells of a load under which batches should grow: a
// transaction costs the database as much as dozens of orders in it. The next one
// then waits for a tick, or until it has enoughRecords: larger ones cost hardly less
// an order. The ticks are gathering apart and the same for all partitions, whose
// batches then share a transaction.
const (
	busyRecords   = 8
	enoughRecords = 1000
	gathering     = 40 * time.Millisecond
)

// tickAfter is the first tick after a moment.
func (q *queue) tickAfter(t time.Time) time.Time {
	return t.Add(gathering - t.Sub(q.ticking)%gathering)
}

// unknown is the position before the first is known.
const unknown = -1

// begin says where reading starts. Only the first call counts, as it reports.
func (q *queue) begin(position int64) (first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.position != unknown {
		return false
	}
	q.position, q.taken = position, position
	return true
}

func (q *queue) push(r *record) {
	q.mu.Lock()
	q.records = append(q.records, r)
	q.position = r.offset + 1
	if len(q.records) == enoughRecords {
		signal(q.enough)
	}
	q.mu.Unlock()
	signal(q.arrived)
}

// starve says whether the pusher waits for what a take would free.
func (q *queue) starve(starving bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.starving = starving
	if starving {
		signal(q.enough)
	}
}

// gather waits for more records, until the tick after began, where the last batch,
// of so many and begun then, tells of a load.
func (q *queue) gather(ctx context.Context, batch int, began time.Time) {
	rest := time.Until(q.tickAfter(began))
	if batch < busyRecords || rest <= 0 {
		return
	}
	q.mu.Lock()
	more := len(q.records) < enoughRecords && !q.starving && !q.closed
	if more {
		select {
		case <-q.enough: // of a time that has passed
		default:
		}
	}
	q.mu.Unlock()
	if !more {
		return
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.enough:
	case <-ctx.Done():
	}
}

// untilDue is how long it takes until the next batch is taken; 0: any moment.
func (q *queue) untilDue() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return max(0, time.Until(q.due))
}

// advance says that nothing below position is to come: the offsets in between
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

// close says that nothing is pushed any more.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	signal(q.arrived)
	signal(q.enough)
}

// signal leaves a token, unless there is one.
func signal(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// take waits until something has arrived and returns all of it, up to most
// records, with the offset to commit once they are done. It returns false when
// ctx ends or the queue is closed: what is still in it then is left behind.
func (q *queue) take(ctx context.Context, most int) (batch []*record, next int64, ok bool) {
	for {
		select {
		case <-ctx.Done():
			return nil, 0, false
		case <-q.arrived:
		}
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return nil, 0, false
		}
		if len(q.records) > most {
			batch = q.records[:most:most]
			q.records = append([]*record(nil), q.records[most:]...)
			next = batch[most-1].offset + 1
			signal(q.arrived)
		} else {
			batch, q.records = q.records, nil
			next = q.position
		}
		fresh := len(batch) > 0 || next != q.taken
		q.taken = next
		if len(batch) >= busyRecords {
			q.due = q.tickAfter(time.Now())
		}
		q.mu.Unlock()
		if fresh {
			return batch, next, true
		}
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
