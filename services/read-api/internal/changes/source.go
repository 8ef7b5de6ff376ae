// Package changes reads orders out of PostgreSQL: all of them as of one moment
// (Source.Snapshot), and from there on whatever was committed since (Source.Tail),
// woken by a Doorbell.
//
// What makes it exact: each order carries the id of the transaction that last
// changed it, and a reader remembers the snapshot of its last transaction. An
// order whose stamp that snapshot did not see is new to the reader, in whatever
// order transactions commit. Nothing depends on notifications.
package changes

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/orderhub/orderhub/libs/model"
)

// Sink takes what a Source reads.
type Sink interface {
	// Put takes an order and its canonical JSON, which are valid only during the call.
	// An order of a Tail may be kept. A Snapshot calls Put from several goroutines.
	Put(o *model.Order, canonical []byte) (changed bool)
	Delete(uid string) (changed bool)
	// LeaveOut says that the Source does not give all orders: the ones that
	// changed longest ago would not fit Options.Bytes.
	LeaveOut()
}

// Options of a Source.
type Options struct {
	// Bytes is the memory that the orders have to fit in; 0 means no limit. A
	// snapshot then has only the last changed ones, at least as many as fit,
	// those that changed last at its end.
	Bytes int64
	// MinRecordBytes is the least that an order takes of Bytes.
	MinRecordBytes int64
	// WaitingBytes is about how much memory a snapshot takes for rows that wait for
	// others of their orders. 0 means 64 MiB.
	WaitingBytes int64
	// CheckSchema says whether the database has the tables that are needed. It
	// is asked at each new connection.
	CheckSchema func(context.Context) error
	// AnswerTimeout bounds the wait for one answer, and a snapshot's for further
	// orders: a connection that has fallen silent must not stop the source for good.
	// It is doubled for each time in a row that it was too short, up to 16 times
	// that: a database that is slow must get through in the end. 0 means 15 seconds.
	AnswerTimeout time.Duration
}

const (
	answerTimeout = 15 * time.Second
	maxDoublings  = 4
	// sorting multiplies a snapshot's patience where the server sorts large tables
	// before it sends the first row.
	sorting = 12
)

// Source reads through a connection of its own, made when needed and again
// after any error. Only Seen is safe for concurrent use.
type Source struct {
	config  *pgx.ConnConfig
	options Options

	timeouts int // in a row

	conn     *pgconn.PgConn // nil: none
	identity Identity       // of conn's database
	// reached is a place in the log that conn's server had reached when it was last
	// asked: its next snapshot sees all that is before it.
	reached uint64
	// read is the furthest position whose changes may have been given to a sink.
	read Position
	seen atomic.Uint64
}

// NewSource prepares a source; it doesn't connect yet.
func NewSource(config *pgx.ConnConfig, options Options) *Source {
	if options.AnswerTimeout == 0 {
		options.AnswerTimeout = answerTimeout
	}
	if options.WaitingBytes == 0 {
		options.WaitingBytes = waitingBytes
	}
	return &Source{config: config, options: options}
}

// Seen is a place in the server's log: whatever was committed before it, the last
// complete round has seen.
func (s *Source) Seen() uint64 { return s.seen.Load() }

// Close gives the connection back. The source may be used again.
func (s *Source) Close() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // it is of no more use either way
	s.conn = nil
}

// patience is how long to wait for an answer. Connecting is not given more than
// the first time: while the network is away an attempt that is made anew finds it
// back sooner.
func (s *Source) patience() time.Duration {
	return s.options.AnswerTimeout << min(s.timeouts, maxDoublings)
}

// note learns from how a snapshot or a round ended whether patience was too short.
func (s *Source) note(err error) {
	var stalled *stalledError
	switch {
	case err == nil:
		s.timeouts = 0
	case errors.As(err, &stalled), errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		s.timeouts++
	}
}

// connect makes sure that there is a connection, to a database with our schema.
func (s *Source) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.AnswerTimeout)
	defer cancel()
	if err := s.options.CheckSchema(ctx); err != nil {
		return err
	}
	conn, err := pgconn.ConnectConfig(ctx, &s.config.Config)
	if err != nil {
		return err
	}
	s.conn = conn
	if err = s.identify(ctx); err != nil {
		s.Close()
		return fmt.Errorf("ask which database this is: %w", err)
	}
	return nil
}

const (
	whichSystem = `SELECT system_identifier::text FROM pg_control_system()`
	// A standby's timeline is as of its last restart point or, where it has
	// replayed another one's beginning since, of that.
	whichDatabase = `SELECT oid::text, CASE WHEN pg_is_in_recovery()
		THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)::bigint::text FROM pg_control_checkpoint() c, pg_control_recovery() r)
		ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint::text END, ` + currentLSN + `
		FROM pg_database WHERE datname = current_database()`
	// currentLSN is a place that the log has reached for good: on a primary, what
	// is on its disk, and on a standby, what it has replayed.
	currentLSN = `(CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0')
		ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::text`
)

// identify asks conn's server which database it has, and how far its log is.
func (s *Source) identify(ctx context.Context) error {
	id := Identity{}
	system := s.conn.ExecParams(ctx, whichSystem, nil, nil, nil, nil).Read()
	var refused *pgconn.PgError
	switch {
	case errors.As(system.Err, &refused) && refused.Code == "42501": // insufficient_privilege
	case system.Err != nil:
		return system.Err
	default:
		id.System = string(system.Rows[0][0])
	}
	database := s.conn.ExecParams(ctx, whichDatabase, nil, nil, nil, nil).Read()
	if database.Err != nil {
		return database.Err
	}
	row := database.Rows[0]
	_, err := fmt.Sscan(fmt.Sprintf("%s %s %s", row[0], row[1], row[2]), &id.Database, &id.Timeline, &s.reached)
	s.identity = id
	return err
}

// advance takes note of the state that a transaction is about to read as of, and
// returns up to where in the log it sees everything. It returns a *BehindError
// where it may be from before what was read already.
func (s *Source) advance(now Position) (seen uint64, err error) {
	seen, s.reached = s.reached, max(s.reached, now.LSN)
	if s.read.aheadOf(now, seen) {
		return seen, &BehindError{Read: s.read.LSN, Replayed: seen}
	}
	s.read = now
	return seen, nil
}

// goOnFrom says which position the caller's sink is at.
func (s *Source) goOnFrom(from Position) {
	if s.read.Identity != from.Identity || s.read.LSN < from.LSN {
		s.read = from
	}
}
