// Package errclass assigns each error of the database to a class, which says what
// the worker does about it: record, race, environment or defect. The worker's
// promise depends on it: an error of the record makes a dead letter, one of the
// environment is retried without end, and a defect stops the worker.
//
//	error                                             class         what happens
//	SQLSTATE 22 data exception, 54 limit exceeded     record        the batch is bisected down to the record: a dead letter
//	SQLSTATE 23 constraint violated                   record        likewise
//	  23505 on the orders' key                        race          the order is looked up again at once
//	  40001 serialization, 40P01 deadlock             race          retried at once
//	  a race that does not end                        23505: record, others: environment
//	SQLSTATE 42 syntax, names; 3D, 3F, 0A             defect        the worker stops and logs the reason
//	  42501 insufficient privilege                    environment   retried: a GRANT ends it
//	SQLSTATE 08 connection, 25006 read-only, 28 login environment   retried with backoff, without end
//	  40 other, 53 resources, 55 not in state,
//	  57 operator intervened, 58 system, XX internal
//	the file of the address cannot be used            environment
//	network errors, time-outs, a closed connection    environment
//	everything else                                   unclassified  retried like environment, and logged as an error
package errclass

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

	"github.com/orderhub/orderhub/libs/platform/bundb"
)

// Class is the class of an error.
type Class string

// The classes.
const (
	None         Class = ""
	Record       Class = "record"       // a dead letter, once the record is alone in its batch
	Race         Class = "race"         // another transaction was faster: retry at once
	Environment  Class = "environment"  // retry without end
	Unclassified Class = "unclassified" // retry like Environment, and log an error
	Defect       Class = "defect"       // stop
)

// Cause is a stable name for what failed, for metrics and readiness.
type Cause string

// The causes of Environment, Unclassified and Defect. Broker and DeadLetters are
// never returned by this package; callers use them for Kafka's errors, all of
// which are of the environment.
const (
	CauseDatabase    Cause = "database"
	CauseReadOnly    Cause = "database_read_only"
	CauseResources   Cause = "database_resources"
	CauseLogin       Cause = "database_login"
	CauseRights      Cause = "database_rights"
	CauseSchema      Cause = "database_schema"
	CauseBroker      Cause = "broker"
	CauseDeadLetters Cause = "dead_letter_topic"
	CauseUnknown     Cause = "unknown"
)

// Causes returns all causes, for those who count by cause.
func Causes() []Cause {
	return []Cause{CauseDatabase, CauseReadOnly, CauseResources, CauseLogin, CauseRights, CauseSchema, CauseBroker, CauseDeadLetters, CauseUnknown}
}

// Of returns the class and the cause of an error from the database.
func Of(err error) (Class, Cause) {
	if err == nil {
		return None, ""
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return ofSQLState(refused)
	}
	if errors.Is(err, bundb.ErrSettings) {
		return Environment, CauseLogin
	}
	if isNetwork(err) {
		return Environment, CauseDatabase
	}
	return Unclassified, CauseUnknown
}

// OfLastingRace returns the class of a race that was lost many times in a row. A
// race for the orders' key ends once the order is found, so a lasting unique
// violation comes from a unique index that somebody added: the index refuses the
// record.
func OfLastingRace(race error) Class {
	var refused *pgconn.PgError
	if errors.As(race, &refused) && refused.Code == uniqueViolation {
		return Record
	}
	return Environment
}

// IsLockTimeout reports whether waiting for a lock ended by lock_timeout.
func IsLockTimeout(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "55P03"
}

const uniqueViolation = "23505"

func ofSQLState(e *pgconn.PgError) (Class, Cause) {
	switch {
	case e.Code == "40001", e.Code == "40P01":
		return Race, CauseDatabase
	case e.Code == uniqueViolation && isOrders(e.TableName):
		return Race, CauseDatabase
	case e.Code == "25006":
		return Environment, CauseReadOnly
	case e.Code == "42501":
		return Environment, CauseRights
	case len(e.Code) != 5:
		return Unclassified, CauseUnknown
	}
	switch e.Code[:2] {
	case "22", "23", "54":
		return Record, ""
	case "42", "3D", "3F", "0A":
		return Defect, CauseSchema
	case "28":
		return Environment, CauseLogin
	case "53":
		return Environment, CauseResources
	case "08", "25", "40", "55", "57", "58", "XX":
		return Environment, CauseDatabase
	}
	return Unclassified, CauseUnknown
}

// isOrders reports whether a table is orders or one of its partitions, which are
// named orders_0, orders_1 and so on: the server's errors name the partition.
func isOrders(table string) bool { return table == "orders" || strings.HasPrefix(table, "orders_") }

// isNetwork reports whether the server could not be reached or the connection
// was lost.
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
