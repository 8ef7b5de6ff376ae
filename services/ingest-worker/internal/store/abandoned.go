package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A writer that vanishes without a word (its machine loses power or network)
// leaves its transaction open on the server, with the order_uids that it
// inserted locked, until the server's TCP keepalive notices, which takes hours by
// default. Nobody could insert these orders until then. A transaction is bounded
// in time, so a writer's transaction that is as old as one that timed out is
// abandoned, and may be ended by anybody.

// endAbandonedQuery ends the transactions of writers of this role that are older
// than ? milliseconds.
const endAbandonedQuery = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
	WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
	AND application_name = current_setting('application_name')
	AND xact_start <= clock_timestamp() - ? * interval '1 millisecond'`

// note remembers how long a transaction took that timed out.
func (s *Store) note(began time.Time, err error) {
	switch {
	case err == nil:
		s.timeouts.Store(0)
	case errors.Is(err, context.DeadlineExceeded):
		s.timeouts.Add(1)
		s.timedOut.Store(int64(time.Since(began)))
	}
}

// endAbandoned ends abandoned transactions, if one has timed out since the last
// call.
func (s *Store) endAbandoned(ctx context.Context) error {
	age := time.Duration(s.timedOut.Load())
	if age == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var ended int
	if err := s.db.NewRaw(endAbandonedQuery, age.Milliseconds()).Scan(ctx, &ended); err != nil {
		return fmt.Errorf("end abandoned transactions: %w", err)
	}
	s.timedOut.CompareAndSwap(int64(age), 0)
	return nil
}
