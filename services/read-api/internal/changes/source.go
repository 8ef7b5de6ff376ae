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
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Sink takes what a Source reads. Put is called from several goroutines during
// a Snapshot; canonical is only valid during the call.
type Sink interface {
	Put(uid string, canonical []byte) (changed bool)
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
}

const (
	// answerTimeout bounds the wait for one answer of the tail's: a frozen
	// connection must not stop it for good.
	answerTimeout = 15 * time.Second
	// stallTimeout is how long a snapshot may go on without a row: sorting a
	// large table takes a while.
	stallTimeout = 3 * time.Minute
)

// Source reads through a connection of its own, made when needed and again
// after any error. It is not safe for concurrent use.
type Source struct {
	config  *pgx.ConnConfig
	options Options

	conn     *pgconn.PgConn // nil: none
	identity Identity       // of conn's database
	row      row
}

// NewSource prepares a source; it doesn't connect yet.
func NewSource(config *pgx.ConnConfig, options Options) *Source {
	if options.WaitingBytes == 0 {
		options.WaitingBytes = waitingBytes
	}
	return &Source{config: config, options: options}
}

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

// connect makes sure that there is a connection, to a database with our schema.
func (s *Source) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := s.options.CheckSchema(ctx); err != nil {
		return err
	}
	conn, err := pgconn.ConnectConfig(ctx, &s.config.Config)
	if err != nil {
		return err
	}
	s.conn = conn
	if s.identity, err = s.identify(ctx); err != nil {
		s.Close()
		return fmt.Errorf("ask which database this is: %w", err)
	}
	return nil
}

const (
	whichSystem   = `SELECT system_identifier::text FROM pg_control_system()`
	whichDatabase = `SELECT oid::text, CASE WHEN pg_is_in_recovery()
		THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)::text FROM pg_control_checkpoint() c, pg_control_recovery() r)
		ELSE (SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)) END
		FROM pg_database WHERE datname = current_database()`
)

func (s *Source) identify(ctx context.Context) (Identity, error) {
	var id Identity
	system := s.conn.ExecParams(ctx, whichSystem, nil, nil, nil, nil).Read()
	var refused *pgconn.PgError
	switch {
	case errors.As(system.Err, &refused) && refused.Code == "42501": // insufficient_privilege
	case system.Err != nil:
		return id, system.Err
	default:
		id.System = string(system.Rows[0][0])
	}
	database := s.conn.ExecParams(ctx, whichDatabase, nil, nil, nil, nil).Read()
	if database.Err != nil {
		return id, database.Err
	}
	_, err := fmt.Sscan(string(database.Rows[0][0]), &id.Database)
	id.Timeline = string(database.Rows[0][1])
	return id, err
}
