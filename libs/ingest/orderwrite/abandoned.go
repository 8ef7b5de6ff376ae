package orderwrite

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A writer that disappears silently (its machine loses power or network) leaves its
// transaction open on the server, with the order_uids that it inserted locked, until
// the server's TCP keepalive notices, which takes hours by default. Nobody could
// insert these orders until then. Transactions are bounded in time, so a writer's
// transaction that is as old as one that timed out is abandoned, and any writer of the
// same role may end it.

// writerLock is the advisory lock that every transaction of a writer holds, in shared
// mode. No other session has a reason to take it, so it tells a writer's transaction from
// one of a session that only has the writer's role, or its application_name.
const writerLock = "1869767781, 1" // "orde"

// note remembers how long a transaction took that timed out.
func (w *Writer) note(began time.Time, err error) {
	switch {
	case err == nil:
		w.timeouts.Store(0)
	case errors.Is(err, context.DeadlineExceeded):
		w.timeouts.Add(1)
		w.timedOut.Store(int64(time.Since(began)))
	}
}

// endAbandoned ends abandoned transactions of writers of this role, if a
// transaction has timed out since the last call. A role may end its own sessions.
func (w *Writer) endAbandoned(ctx context.Context) error {
	age := time.Duration(w.timedOut.Load())
	if age == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.opts.Timeout)
	defer cancel()
	var ended int
	err := w.db.NewSelect().ColumnExpr("count(pg_terminate_backend(pid))").TableExpr("pg_stat_activity").
		Where("datname = current_database()").Where("usename = session_user").Where("pg_has_role(usesysid, 'USAGE')").
		Where("EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = pg_stat_activity.pid AND l.database = datid AND l.locktype = 'advisory' "+
			"AND l.granted AND l.objsubid = 2 AND (l.classid::bigint, l.objid::bigint) = ("+writerLock+"))").
		Where("pid <> pg_backend_pid()").
		Where("xact_start <= clock_timestamp() - ? * interval '1 millisecond'", age.Milliseconds()).
		Scan(ctx, &ended)
	if err != nil {
		return fmt.Errorf("end abandoned transactions: %w", err)
	}
	w.timedOut.CompareAndSwap(int64(age), 0)
	return nil
}
