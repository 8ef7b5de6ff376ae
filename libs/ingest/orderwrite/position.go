package orderwrite

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Position is how far a partition is in the tables once a batch is written. It becomes
// visible in the same transaction as the batch's last order, or in a later one. Each
// transaction for the batch checks From.
type Position struct {
	Group     string // consumer group
	TopicID   string // a UUID
	Partition int
	// From is the position that the table must have reached: all records before it were
	// written earlier. If it has not, the database went back to an earlier state.
	From int64
	Next int64 // the offset after the batch
}

// BehindError means that the table has not reached a position that it had recorded
// before: the database went back to an earlier state. Nothing was written.
type BehindError struct{ Position Position }

func (e *BehindError) Error() string {
	return fmt.Sprintf("partition %d has not been written up to offset %d any more: the database went back to an earlier state", e.Position.Partition, e.Position.From)
}

// Recording returns a writer that also moves a position. The position's row must exist.
// A position that is ahead of Next already stays where it is.
func (w *Writer) Recording(p Position) RecordingWriter { return RecordingWriter{w, p} }

// RecordingWriter writes like its Writer and moves a position.
type RecordingWriter struct {
	writer   *Writer
	position Position
}

// Write is Writer.Write. It also accepts no entries. The error can be a *BehindError.
func (r RecordingWriter) Write(ctx context.Context, entries []*Entry) error {
	return r.writer.write(ctx, &write{entries: entries, position: &r.position})
}

// movePositions is a part of openQuery. Its row counts how many rows were moved.
const movePositions = `moved AS (UPDATE ingest_positions AS p SET next_offset = greatest(p.next_offset, w.next), updated_at = now()
	FROM unnest($3::text[], $4::uuid[], $5::int[], $6::bigint[], $7::bigint[]) AS w (consumer_group, topic_id, partition, least, next)
	WHERE (p.consumer_group, p.topic_id, p.partition) = (w.consumer_group, w.topic_id, w.partition) AND p.next_offset >= w.least
	RETURNING 1) `

// positionArguments are those of movePositions.
func positionArguments(positions []Position) []any {
	var groups, topics []string
	var partitions []int32
	var least, next []int64
	for _, p := range positions {
		groups, topics, partitions = append(groups, p.Group), append(topics, p.TopicID), append(partitions, int32(p.Partition))
		least, next = append(least, p.From), append(next, p.Next)
	}
	return []any{groups, topics, partitions, least, next}
}

// reached returns what a transaction for the writes makes of their positions, in an order in
// which transactions do not deadlock, and the writes that have no entry left after it: a
// transaction decides only the first entry of an order_uid that is new. The position of any
// other write stays, but is checked: a later record must not be stored before those that
// the tables lost.
func reached(writes []*write) (positions []Position, done []*write) {
	seen := map[string]bool{}
	for _, w := range writes {
		whole := true
		for _, e := range w.entries {
			if e.Outcome == Pending {
				whole = whole && !seen[e.Order.OrderUID]
				seen[e.Order.OrderUID] = true
			}
		}
		if w.position == nil {
			continue
		}
		p := *w.position
		if whole {
			done = append(done, w)
		} else {
			p.Next = p.From
		}
		positions = append(positions, p)
	}
	slices.SortFunc(positions, func(a, b Position) int { return cmp.Compare(a.Partition, b.Partition) })
	return positions, done
}
