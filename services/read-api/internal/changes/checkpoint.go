package changes

import (
	"context"
	"errors"
	"fmt"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// Checkpoint says which state of the tables a saved copy of the orders has. The copy was
// made while changes arrived: each of its orders is as it was at some moment between From
// and To.
type Checkpoint struct {
	From, To Position
	// Stamps are those of the orders that had changed last as of To: "change_xid order_uid",
	// behind them, with a minus sign, those that had been deleted last. The first is a hash of
	// the tables' columns instead: a later schema may have further ones.
	Stamps []string
}

// newestStamps and newestDeletions are how many a checkpoint has. A later change hides an
// order's stamp, but seldom a deletion's.
const (
	newestStamps    = 1000
	newestDeletions = 10
)

var (
	readColumns = `SELECT md5(string_agg(concat_ws(' ', attrelid, attname, atttypid), ',' ORDER BY attrelid, attnum)) FROM pg_attribute
		WHERE attnum > 0 AND attrelid = ANY(ARRAY['orders', 'deliveries', 'payments', 'items']::regclass[])`
	readStamps = fmt.Sprintf(`SELECT concat(change_xid, ' ', order_uid) FROM orders
		WHERE change_xid < pg_snapshot_xmax(pg_current_snapshot()) ORDER BY change_xid DESC LIMIT %d`, newestStamps)
	readDeleted = fmt.Sprintf(`SELECT concat('-', change_xid, ' ', order_uid) FROM order_deletions
		WHERE change_xid < pg_snapshot_xmax(pg_current_snapshot()) ORDER BY change_xid DESC LIMIT %d`, newestDeletions)
	// An order that had a stamp still has it, or its change is among those that follow. A
	// deletion may have been pruned.
	countLost = `SELECT count(*) FROM (
			SELECT s LIKE '-%%' AS deletion, ltrim(left(s, strpos(s, ' ') - 1), '-')::xid8 AS stamp, substr(s, strpos(s, ' ') + 1) AS uid
			  FROM unnest($1::text[]) AS s) saved
		WHERE NOT EXISTS (SELECT FROM orders o WHERE o.order_uid = uid AND (change_xid = stamp OR (%[1]s)))
			AND NOT EXISTS (SELECT FROM order_deletions d WHERE d.order_uid = uid AND (%[1]s))
			AND NOT (deletion AND (stamp < (SELECT horizon FROM order_changes_state)
				OR EXISTS (SELECT FROM order_deletions d WHERE d.change_xid = stamp AND d.order_uid = uid)))`
)

// Mark is Tail, and completes a checkpoint: the copy was begun at from, and its last
// order read before Mark.
func (s *Source) Mark(ctx context.Context, from Position, sink Sink) (round Round, stamps []string, err error) {
	round, err = s.round(ctx, from, sink, func(ctx context.Context) error {
		answers := s.ask(ctx, query{sql: readColumns}, query{sql: readStamps}, query{sql: readDeleted})
		for range 3 {
			answers.each(func(row orderdb.RawRow) { stamps = append(stamps, uidOf(row)) })
		}
		return answers.close()
	})
	return round, stamps, err
}

// Resume is Tail from a checkpoint, whose copy of the orders sink has. It returns a
// *RelistError unless these are the tables that the copy was made of, and everything that
// the copy may have is still in their history.
func (s *Source) Resume(ctx context.Context, c Checkpoint, sink Sink) (Round, error) {
	if err := s.connect(ctx); err != nil {
		return Round{}, err
	}
	s.resumeFrom(c.To)
	round, err := s.round(ctx, c.From, sink, func(ctx context.Context) error { return s.verify(ctx, c) })
	if behind, ok := errors.AsType[*BehindError](err); ok {
		// Without the copy nothing has to be waited for.
		err = &RelistError{behind.Error()}
	}
	if _, ok := errors.AsType[*RelistError](err); ok {
		s.read = Position{}
	}
	return round, err
}

// verify compares a checkpoint with the tables as the transaction sees them.
func (s *Source) verify(ctx context.Context, c Checkpoint) error {
	if reason := c.To.relistReason(s.read); reason != "" {
		return &RelistError{reason}
	}
	array, err := textArray(c.Stamps[1:])
	if err != nil {
		return err
	}
	var columns string
	var lost uint64
	answers := s.ask(ctx, query{sql: readColumns}, query{fmt.Sprintf(countLost, c.From.durable().since(c.From.Standby)), array})
	answers.each(func(row orderdb.RawRow) { columns = uidOf(row) })
	answers.each(func(row orderdb.RawRow) { lost = stampOf(row) })
	switch err := answers.close(); {
	case err != nil:
		return err
	case columns != c.Stamps[0]:
		return &RelistError{"the tables have other columns than before"}
	case lost > 0:
		return &RelistError{fmt.Sprintf("the database was restored to an earlier state: %d of the newest %d changes are no longer in its tables", lost, len(c.Stamps)-1)}
	}
	return nil
}
