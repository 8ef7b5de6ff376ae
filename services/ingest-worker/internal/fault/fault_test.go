package fault

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
	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

func state(code string) error {
	return fmt.Errorf("copy: %w", &pgconn.PgError{Code: code})
}

// One line for each line of the table in the package's documentation.
func TestWhoseFault(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		whose Whose
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

		{"undefined table", state("42P01"), Ours, CauseSchema},
		{"undefined column", state("42703"), Ours, CauseSchema},
		{"insufficient privilege", state("42501"), Ours, CauseSchema},
		{"no such database", state("3D000"), Ours, CauseSchema},
		{"no such schema", state("3F000"), Ours, CauseSchema},
		{"feature not supported", state("0A000"), Ours, CauseSchema},

		{"connection failure", state("08006"), World, CauseDatabase},
		{"read-only transaction", state("25006"), World, CauseReadOnly},
		{"aborted transaction", state("25P02"), World, CauseDatabase},
		{"invalid password", state("28P01"), World, CauseLogin},
		{"completion unknown", state("40003"), World, CauseDatabase},
		{"disk full", state("53100"), World, CauseResources},
		{"too many connections", state("53300"), World, CauseResources},
		{"lock not available", state("55P03"), World, CauseDatabase},
		{"admin shutdown", state("57P01"), World, CauseDatabase},
		{"cannot connect now", state("57P03"), World, CauseDatabase},
		{"i/o error", state("58030"), World, CauseDatabase},
		{"internal error", state("XX000"), World, CauseDatabase},

		{"refused", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, World, CauseDatabase},
		{"reset", fmt.Errorf("read: %w", &net.OpError{Op: "read", Err: syscall.ECONNRESET}), World, CauseDatabase},
		{"no such host", &net.DNSError{Err: "no such host"}, World, CauseDatabase},
		{"end of file", io.ErrUnexpectedEOF, World, CauseDatabase},
		{"time-out", context.DeadlineExceeded, World, CauseDatabase},
		{"bad connection", driver.ErrBadConn, World, CauseDatabase},
		{"connection done", sql.ErrConnDone, World, CauseDatabase},
		{"transaction done", sql.ErrTxDone, World, CauseDatabase},
		{"connection closed", errors.New("conn closed"), World, CauseDatabase},

		{"a class in no list", state("99999"), Unlisted, CauseUnknown},
		{"no SQLSTATE at all", state(""), Unlisted, CauseUnknown},
		{"an error in no list", errors.New("what is this"), Unlisted, CauseUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			whose, cause := Of(c.err)
			require.Equal(t, c.whose, whose)
			require.Equal(t, c.cause, cause)
		})
	}
}

func TestARaceThatDoesNotEnd(t *testing.T) {
	require.Equal(t, Record, OfLasting(fmt.Errorf("copy: %w", &pgconn.PgError{Code: "23505", TableName: "orders"})))
	require.Equal(t, World, OfLasting(state("40001")))
	require.Equal(t, World, OfLasting(state("40P01")))
}

func TestAGenerationThatEnded(t *testing.T) {
	for _, err := range []error{kafka.IllegalGeneration, kafka.UnknownMemberId, kafka.RebalanceInProgress, kafka.NotCoordinatorForGroup} {
		require.True(t, GenerationEnded(fmt.Errorf("commit: %w", err)), err)
	}
	for _, err := range []error{nil, io.EOF, kafka.GroupLoadInProgress, kafka.RequestTimedOut} {
		require.False(t, GenerationEnded(err), err)
	}
}

func TestAMessageThatIsTooLarge(t *testing.T) {
	for _, err := range []error{kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, fmt.Errorf("produce: %w", kafka.MessageSizeTooLarge)} {
		require.True(t, MessageTooLarge(err), err)
	}
	for _, err := range []error{nil, io.EOF, kafka.NotEnoughReplicas} {
		require.False(t, MessageTooLarge(err), err)
	}
}
