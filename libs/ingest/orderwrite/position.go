package orderwrite

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Position is how far a partition is in the tables once a batch is written. It becomes
// visible in the same transaction as the batch's last order, or in a later one. Each
// transaction for the batch checks From and Transactions.
type Position struct {
	Group     string // consumer group
	TopicID   string // a UUID
	Partition int
	// From is the position that the table must have reached: all records before it were
	// written earlier. If it has not, the database went back to an earlier state.
	From int64
	Next int64 // the offset after the batch
	// Transactions is the table's count of the partition's transactions, as of the last one
	// that this process committed; 0 for none. Each transaction adds one to it. A smaller
	// count in the table tells that it lost a part of a batch, which From does not.
	Transactions *int64
}

// BehindError means that the tables lack a position or an erasure that they had recorded
// before: the database went back to an earlier state. Nothing was written.
type BehindError struct{ Position Position } // the zero value: an erasure

func (e *BehindError) Error() string {
	if e.Position.TopicID == "" {
		return "the tables lost erasures: the database went back to an earlier state"
	}
	return fmt.Sprintf("the tables lost transactions of partition %d, at offset %d or before: the database went back to an earlier state", e.Position.Partition, e.Position.From)
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

// movePositions is a part of openQuery. Its rows are those that were moved.
const movePositions = `moved AS (UPDATE ingest_positions AS p
	SET next_offset = greatest(p.next_offset, w.next), transactions = p.transactions + 1, updated_at = now()
	FROM unnest($3::text[], $4::uuid[], $5::int[], $6::bigint[], $7::bigint[], $8::bigint[]) AS w (consumer_group, topic_id, partition, least, next, before)
	WHERE (p.consumer_group, p.topic_id, p.partition) = (w.consumer_group, w.topic_id, w.partition)
		AND p.next_offset >= w.least AND p.transactions >= w.before
	RETURNING p.partition, p.transactions) `

// positionArguments are those of movePositions.
func positionArguments(positions []Position) []any {
	var groups, topics []string
	var partitions []int32
	var least, next, before []int64
	for _, p := range positions {
		groups, topics, partitions = append(groups, p.Group), append(topics, p.TopicID), append(partitions, int32(p.Partition))
		least, next, before = append(least, p.From), append(next, p.Next), append(before, *p.Transactions)
	}
	return []any{groups, topics, partitions, least, next, before}
}

// counts reads what movePositions returns: the counts of transactions by partition,
// separated by commas. Each position has to have one.
func counts(moved string, positions []Position) ([]int64, error) {
	var all []int64
	for text := range strings.SplitSeq(moved, ",") {
		if count, err := strconv.ParseInt(text, 10, 64); err == nil {
			all = append(all, count)
		}
	}
	if len(all) < len(positions) {
		return nil, &BehindError{positions[0]} // which one, only its own transaction tells
	}
	return all, nil
}

// reached returns what a transaction for the writes, with so many pending entries, makes of
// their positions, in an order in which transactions do not deadlock, and the writes that
// have no entry left after it: a transaction decides only the first entry of an order_uid
// that it writes. The position of any other write stays, but is checked: a later record must
// not be stored before those that the tables lost.
func reached(writes []*write, pending int) (positions []Position, done []*write) {
	seen := make(map[string]bool, pending)
	for _, w := range writes {
		whole := true
		for _, e := range w.entries {
			if e.Outcome == Pending {
				whole = whole && !seen[e.UID()]
				seen[e.UID()] = true
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
