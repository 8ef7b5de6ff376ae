package errclass

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/bundb"
)

func state(code string) error {
	return fmt.Errorf("copy: %w", &pgconn.PgError{Code: code})
}

// One case for each line of the table in the package's documentation.
func TestErrorClasses(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		class Class
		cause Cause
	}{
		{"nothing", nil, None, ""},

		{"numeric value out of range", state("22003"), Record, ""},
		{"NUL in text", state("22021"), Record, ""},
		{"check violation", state("23514"), Record, ""},
		{"not null violation", state("23502"), Record, ""},
		{"index row too large", state("54000"), Record, ""},
		{"duplicate item position", fmt.Errorf("copy: %w", &pgconn.PgError{Code: "23505", TableName: "items"}), Record, ""},

		{"duplicate order_uid", fmt.Errorf("copy: %w", &pgconn.PgError{Code: "23505", TableName: "orders"}), Race, CauseDatabase},
		{"duplicate order_uid in a partition", fmt.Errorf("copy: %w", &pgconn.PgError{Code: "23505", TableName: "orders_7"}), Race, CauseDatabase},
		{"duplicate item position in a partition", fmt.Errorf("copy: %w", &pgconn.PgError{Code: "23505", TableName: "items_7"}), Record, ""},
		{"serialization failure", state("40001"), Race, CauseDatabase},
		{"deadlock", state("40P01"), Race, CauseDatabase},

		{"undefined table", state("42P01"), Defect, CauseSchema},
		{"undefined column", state("42703"), Defect, CauseSchema},
		{"no such database", state("3D000"), Defect, CauseSchema},
		{"no such schema", state("3F000"), Defect, CauseSchema},
		{"feature not supported", state("0A000"), Defect, CauseSchema},

		{"connection failure", state("08006"), Environment, CauseDatabase},
		{"read-only transaction", state("25006"), Environment, CauseReadOnly},
		{"aborted transaction", state("25P02"), Environment, CauseDatabase},
		{"insufficient privilege", state("42501"), Environment, CauseRights},
		{"invalid password", state("28P01"), Environment, CauseLogin},
		{"the file of the address is empty", fmt.Errorf("begin: %w: DATABASE_URL_FILE is empty", bundb.ErrSettings), Environment, CauseLogin},
		{"completion unknown", state("40003"), Environment, CauseDatabase},
		{"disk full", state("53100"), Environment, CauseResources},
		{"too many connections", state("53300"), Environment, CauseResources},
		{"lock not available", state("55P03"), Environment, CauseDatabase},
		{"admin shutdown", state("57P01"), Environment, CauseDatabase},
		{"cannot connect now", state("57P03"), Environment, CauseDatabase},
		{"i/o error", state("58030"), Environment, CauseDatabase},
		{"internal error", state("XX000"), Environment, CauseDatabase},

		{"refused", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, Environment, CauseDatabase},
		{"reset", fmt.Errorf("read: %w", &net.OpError{Op: "read", Err: syscall.ECONNRESET}), Environment, CauseDatabase},
		{"no such host", &net.DNSError{Err: "no such host"}, Environment, CauseDatabase},
		{"end of file", io.ErrUnexpectedEOF, Environment, CauseDatabase},
		{"time-out", context.DeadlineExceeded, Environment, CauseDatabase},
		{"bad connection", driver.ErrBadConn, Environment, CauseDatabase},
		{"connection done", sql.ErrConnDone, Environment, CauseDatabase},
		{"transaction done", sql.ErrTxDone, Environment, CauseDatabase},
		{"connection closed", errors.New("conn closed"), Environment, CauseDatabase},

		{"a class that is not classified", state("99999"), Unclassified, CauseUnknown},
		{"no SQLSTATE at all", state(""), Unclassified, CauseUnknown},
		{"an error that is not classified", errors.New("what is this"), Unclassified, CauseUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			class, cause := Of(c.err)
			require.Equal(t, c.class, class)
			require.Equal(t, c.cause, cause)
		})
	}
}

func TestClassOfALastingRace(t *testing.T) {
	require.Equal(t, Record, OfLastingRace(fmt.Errorf("copy: %w", &pgconn.PgError{Code: "23505", TableName: "orders"})))
	require.Equal(t, Environment, OfLastingRace(state("40001")))
	require.Equal(t, Environment, OfLastingRace(state("40P01")))
}
