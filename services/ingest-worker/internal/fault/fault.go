// Package fault decides whose fault an error is: the record's, the world's, or
// ours. The whole promise of the worker hangs on it: a record's fault makes a
// dead letter, the world's is retried without end, ours stops the worker.
//
//	error                                             whose         what happens
//	SQLSTATE 22 data exception, 54 limit exceeded     the record's  bisected until alone, then a dead letter
//	SQLSTATE 23 constraint violated                   the record's  likewise
//	  23505 on the orders' key                        a race        looked up again at once
//	  40001 serialization, 40P01 deadlock             a race        tried again at once
//	  a race that does not end                        23505: the record's, others: the world's
//	SQLSTATE 42 syntax, names, rights; 3D, 3F, 0A     ours          the worker stops and says so
//	  42501 insufficient privilege                    ours
//	SQLSTATE 08 connection, 25006 read-only, 28 login the world's   retried with backoff, without end
//	  40 other, 53 resources, 55 not in state,
//	  57 operator intervened, 58 system, XX internal
//	network errors, time-outs, a closed connection    the world's
//	Kafka errors                                      the world's   (but a generation that has ended)
//	whatever stands in no list                        the world's   and said loudly, as unlisted
package fault

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/segmentio/kafka-go"
)

// Whose fault an error is.
type Whose string

// The answers of Of.
const (
	None     Whose = ""
	Record   Whose = "record"   // a dead letter, once the record is alone
	Race     Whose = "race"     // another transaction was quicker: try again at once
	World    Whose = "world"    // retry without end
	Unlisted Whose = "unlisted" // like World, said loudly
	Ours     Whose = "ours"     // stop
)

// Cause is a stable word for what is in the way, for metrics and readiness.
type Cause string

// The causes of faults that are the world's or ours.
const (
	CauseDatabase    Cause = "database"
	CauseReadOnly    Cause = "database_read_only"
	CauseResources   Cause = "database_resources"
	CauseLogin       Cause = "database_login"
	CauseSchema      Cause = "database_schema"
	CauseBroker      Cause = "broker"
	CauseDeadLetters Cause = "dead_letter_topic"
	CauseUnknown     Cause = "unknown"
)

// Of says whose fault an error from the database is, and its cause.
func Of(err error) (Whose, Cause) {
	if err == nil {
		return None, ""
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return ofSQLState(refused)
	}
	if isNetwork(err) {
		return World, CauseDatabase
	}
	return Unlisted, CauseUnknown
}

// Locked says whether a lock_timeout ended the waiting for somebody's lock.
func Locked(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "55P03"
}

// OfLasting says whose fault a race is that is lost time and again. Of the orders'
// key it would end, with the order found: a unique index of somebody's own refuses
// the record.
func OfLasting(race error) Whose {
	var refused *pgconn.PgError
	if errors.As(race, &refused) && refused.Code == uniqueViolation {
		return Record
	}
	return World
}

const uniqueViolation = "23505"

func ofSQLState(e *pgconn.PgError) (Whose, Cause) {
	switch {
	case e.Code == "40001", e.Code == "40P01":
		return Race, CauseDatabase
	case e.Code == uniqueViolation && isOrders(e.TableName):
		return Race, CauseDatabase
	case e.Code == "25006":
		return World, CauseReadOnly
	case len(e.Code) != 5:
		return Unlisted, CauseUnknown
	}
	switch e.Code[:2] {
	case "22", "23", "54":
		return Record, ""
	case "42", "3D", "3F", "0A":
		return Ours, CauseSchema
	case "28":
		return World, CauseLogin
	case "53":
		return World, CauseResources
	case "08", "25", "40", "55", "57", "58", "XX":
		return World, CauseDatabase
	}
	return Unlisted, CauseUnknown
}

// isOrders says whether a table is that of the orders, or a partition of it: the
// server names the partition, and these are named orders_0, orders_1 and so on.
func isOrders(table string) bool { return table == "orders" || strings.HasPrefix(table, "orders_") }

// isNetwork says whether an error is about reaching the server at all.
func isNetwork(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &network) || errors.As(err, &connect) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, sql.ErrTxDone) || errors.Is(err, pgx.ErrTxClosed) || errors.Is(err, context.DeadlineExceeded) ||
		pgconn.Timeout(err) || pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "conn closed") ||
		strings.Contains(err.Error(), "conn busy")
}

// GenerationEnded says whether a commit was refused because the partition may
// belong to another member by now: what was not committed is read again by
// whoever owns it.
func GenerationEnded(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId) ||
		errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, kafka.ErrGenerationEnded) ||
		errors.Is(err, kafka.NotCoordinatorForGroup)
}

// MessageTooLarge says whether the broker takes no record of this size.
func MessageTooLarge(err error) bool {
	var tooLarge kafka.MessageTooLargeError
	return errors.Is(err, kafka.MessageSizeTooLarge) || errors.Is(err, kafka.InvalidMessageSize) || errors.As(err, &tooLarge) ||
		errors.Is(err, kafka.RecordListTooLarge)
}
