package ingest

import (
	"context"
	"sync"
)

// queue holds what has arrived of one partition and is not in a batch yet. One
// goroutine pushes, one takes. The budget bounds it, not a count.
type queue struct {
	mu       sync.Mutex
	records  []*record
	position int64 // all records below it are in the queue or were taken
	taken    int64 // the position that the last take went up to
	closed   bool
	arrived  chan struct{} // holds a token when there is something to take
}

func newQueue() *queue {
	return &queue{position: unknown, taken: unknown, arrived: make(chan struct{}, 1)}
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
	q.mu.Unlock()
	q.ring()
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
		q.ring()
	}
}

// close says that nothing is pushed any more.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.ring()
}

func (q *queue) ring() {
	select {
	case q.arrived <- struct{}{}:
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
			q.ring()
		} else {
			batch, q.records = q.records, nil
			next = q.position
		}
		fresh := len(batch) > 0 || next != q.taken
		q.taken = next
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
