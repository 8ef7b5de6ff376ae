// Package changes reads orders from PostgreSQL: first all orders as of one moment
// (Source.Snapshot), then what was committed since (Source.Tail). A Doorbell says when
// there may be something to read.
//
// Each order carries the id of the transaction that changed it last, its stamp
// (change_xid). A reader remembers the snapshot of its last transaction. An order whose
// stamp that snapshot did not see is new to the reader, in whatever order transactions
// commit. Nothing depends on notifications.
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

// Order is an order as the tables have it.
type Order struct {
	*model.Order
	Canonical []byte // its JSON
	// Updated is when it was stored or last changed, in whole seconds since 1970; 0: that
	// was not recorded.
	Updated uint32
	// Inserted says that the order was inserted after the position that a Tail is from, has
	// not changed since, and was not deleted before in this time.
	Inserted bool
}

// Sink takes what a Source reads.
type Sink interface {
	// Put takes an order, which is valid only during the call. Of a Tail's, all but the
	// canonical JSON may be kept. A Snapshot calls Put from several goroutines.
	Put(o Order) (changed bool)
	Delete(uid string) (changed bool)
	// LeaveOut says that the snapshot is not complete: it lacks the orders that changed
	// longest ago, which do not fit Options.Bytes.
	LeaveOut()
}

// Held is a Sink that has orders already. A snapshot for it is a relist: what the Sink
// has is compared, and stays a state that was committed at each moment. Its further methods
// are called from several goroutines, and Put from one, with orders that may be kept.
type Held interface {
	Sink
	// Same tells whether the sink has the order in this state.
	Same(o Order) bool
	// Replace is Put, where too many orders differ to give each by itself. The order is
	// valid only during the call.
	Replace(o Order)
	// Room is about how many bytes a relist may use beside the orders.
	Room() int64
}

// Options of a Source.
type Options struct {
	// Bytes is the memory for the orders; 0 means no limit. With a limit, a snapshot has
	// only the orders that changed last, at least as many as fit, in the order of their
	// changes.
	Bytes int64
	// MinRecordBytes is the least memory that an order needs.
	MinRecordBytes int64
	// WaitingBytes is about how much memory a snapshot uses for incomplete orders. 0
	// means 64 MiB.
	WaitingBytes int64
	// CheckSchema returns an error if the database lacks our tables. It is called for
	// each new connection.
	CheckSchema func(context.Context) error
	// AnswerTimeout bounds the wait for one answer and, in a snapshot, for further
	// orders, since a connection may break without notice. Each consecutive timeout
	// doubles it, up to 16 times, so that a slow database is read in the end. 0 means 15
	// seconds.
	AnswerTimeout time.Duration
	// Ages asks for Round.Ages.
	Ages bool
}

const (
	answerTimeout = 15 * time.Second
	maxDoublings  = 4
	// sorting multiplies a snapshot's timeout where the server must sort large tables
	// before it sends the first row.
	sorting = 12
)

// Connector returns the settings of a connection. It is called for each, since files that
// they come from may have changed.
type Connector = func() (*pgx.ConnConfig, error)

// Source reads through its own connection. It connects when needed, and again after any
// error. Only Seen is safe for concurrent use.
type Source struct {
	config  Connector
	options Options

	timeouts int // consecutive

	conn  *pgconn.PgConn // nil: none
	dated bool           // conn's server tells when transactions committed
	// changed are transactions whose changes a sink has got in this round; nil: they are
	// not asked for.
	changed  map[uint64]bool
	identity Identity // of conn's database
	// reached is the log position that conn's server reported last. Its next snapshot
	// sees everything before that.
	reached uint64
	// read is the latest position whose changes a sink may have.
	read Position
	seen atomic.Uint64
}

// NewSource prepares a source; it doesn't connect yet.
func NewSource(config Connector, options Options) *Source {
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

// Close closes the connection. The source may be used again.
func (s *Source) Close() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // the connection is dropped either way
	s.conn = nil
}

// patience is how long to wait for an answer. Attempts to connect do not get longer:
// after an outage of the network a new attempt succeeds sooner than an old one.
func (s *Source) patience() time.Duration {
	return s.options.AnswerTimeout << min(s.timeouts, maxDoublings)
}

// adjustPatience takes the result of a snapshot or a round.
func (s *Source) adjustPatience(err error) {
	var stalled *stalledError
	switch {
	case err == nil:
		s.timeouts = 0
	case errors.As(err, &stalled), errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		s.timeouts++
	}
}

// connect opens a connection to a database with our schema, unless there is one.
func (s *Source) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.AnswerTimeout)
	defer cancel()
	if err := s.options.CheckSchema(ctx); err != nil {
		return err
	}
	conn, err := s.open(ctx)
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

func (s *Source) open(ctx context.Context) (*pgconn.PgConn, error) {
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	return pgconn.ConnectConfig(ctx, &config.Config)
}

const (
	whichSystem = `SELECT system_identifier::text FROM pg_control_system()`
	// A standby's timeline is that of its last restart point, or a later one that it has
	// begun to replay since.
	whichDatabase = `SELECT oid::text, CASE WHEN pg_is_in_recovery()
		THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)::bigint::text FROM pg_control_checkpoint() c, pg_control_recovery() r)
		ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint::text END, ` + currentLSN + `
		FROM pg_database WHERE datname = current_database()`
	// lastCommit fails unless track_commit_timestamp is on, on a standby's primary too.
	lastCommit = `SELECT pg_last_committed_xact()`
	// currentLSN is the position of the log up to which a primary has written it to its
	// disk, or a standby has replayed it.
	currentLSN = `(CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0')
		ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::text`
)

// identify reads the identity of conn's database and the position of its log.
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
	if s.options.Ages {
		s.dated = s.conn.ExecParams(ctx, lastCommit, nil, nil, nil, nil).Read().Err == nil
	}
	row := database.Rows[0]
	_, err := fmt.Sscan(fmt.Sprintf("%s %s %s", row[0], row[1], row[2]), &id.Database, &id.Timeline, &s.reached)
	s.identity = id
	return err
}

// advance records the state that a transaction reads, and returns the log position up
// to which the transaction sees everything. It returns a *BehindError if the state may
// be older than what was read already.
func (s *Source) advance(now Position) (seen uint64, err error) {
	seen, s.reached = s.reached, max(s.reached, now.LSN)
	if s.read.aheadOf(now, seen) {
		return seen, &BehindError{Read: s.read.LSN, Replayed: seen}
	}
	s.read = now
	return seen, nil
}

// resumeFrom sets the position that the caller's sink has reached.
func (s *Source) resumeFrom(from Position) {
	if s.read.Identity != from.Identity || s.read.LSN < from.LSN {
		s.read = from
	}
}
