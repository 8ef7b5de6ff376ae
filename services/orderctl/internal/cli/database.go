package cli

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/platform/bundb"
)

// maxConns: one holds the migrations' lock while others work.
const maxConns = 4

// database is a pool and where it leads to.
type database struct {
	pool *bun.DB
	conn *pgx.ConnConfig
}

// openDatabase reads the settings. It doesn't connect.
func openDatabase() (*database, error) {
	var s databaseSettings
	if err := load(&s); err != nil {
		return nil, err
	}
	conn, err := bundb.Config(s.Database, "orderctl")
	if err != nil {
		return nil, usage(err)
	}
	db, err := bundb.Open(s.Database, bundb.Options{MaxConns: maxConns, ApplicationName: "orderctl"})
	if err != nil {
		return nil, usage(err)
	}
	return &database{pool: db, conn: conn}, nil
}

// place is the database's address without the password.
func (d *database) place() string {
	return fmt.Sprintf("%s/%s as user %s", net.JoinHostPort(d.conn.Host, strconv.Itoa(int(d.conn.Port))), d.conn.Database, d.conn.User)
}

// explain says what is wrong with the database, and what to do.
func (d *database) explain(err error) error {
	var refused *pgconn.PgError
	var connecting *pgconn.ConnectError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return fmt.Errorf("PostgreSQL at %s: %s (SQLSTATE %s)%s%w", d.place(), refused.Message, refused.Code, d.advice(refused.Code), hidden{err})
	case errors.As(err, &connecting):
		return fmt.Errorf("cannot reach PostgreSQL at %s: %w: start it, or say where it is with DATABASE_URL%w", d.place(), rootCause(connecting), hidden{err})
	default:
		return fmt.Errorf("PostgreSQL at %s: %w", d.place(), err)
	}
}

func (d *database) advice(sqlstate string) string {
	switch sqlstate {
	case "3D000":
		return ": create it, as with createdb " + d.conn.Database + ", or name another in DATABASE_URL"
	case "28P01", "28000":
		return ": check user and password in DATABASE_URL"
	case "42501":
		return ": the user needs the right to create tables"
	default:
		return ""
	}
}

// hidden keeps an error to be found by errors.As where its text adds nothing.
type hidden struct{ error }

func (hidden) Error() string   { return "" }
func (h hidden) Unwrap() error { return h.error }

// rootCause is the innermost error, such as "connection refused", of the first
// address that was tried.
func rootCause(err error) error {
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network
	}
	for {
		switch wrapping := err.(type) { //nolint:errorlint // the chain is walked here
		case interface{ Unwrap() error }:
			if wrapping.Unwrap() == nil {
				return err
			}
			err = wrapping.Unwrap()
		case interface{ Unwrap() []error }:
			err = wrapping.Unwrap()[0]
		default:
			return err
		}
	}
}

// isDatabaseAway is true where waiting may help: no connection, or a server
// that is starting or stopping.
func isDatabaseAway(err error) bool {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code == "57P03" || refused.Code == "57P01" // starting, stopping
	}
	var connecting *pgconn.ConnectError
	return errors.As(err, &connecting)
}
