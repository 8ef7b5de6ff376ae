package cli

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
)

func TestAnImportGoesOnAfterAWholeUID(t *testing.T) {
	for _, c := range []struct {
		uids     string
		answered int
		whole    int
	}{
		{"", 0, 0}, {"a b c", 2, 2}, {"a b b", 2, 1}, {"a b b", 3, 3}, {"b b b", 2, 0}, {"a b b c", 3, 3},
	} {
		require.Equal(t, c.whole, whole(strings.Fields(c.uids), c.answered), "%q, %d answered", c.uids, c.answered)
	}
}

func TestAnErrorOfADatabaseQuotesNoValue(t *testing.T) {
	conn, err := bundb.Config(config.Database{URL: "postgres://u@127.0.0.1:5432/x"}, "test")
	require.NoError(t, err)
	db := &database{conn: conn, setting: "--from"}
	for code, messages := range map[string][2]string{
		"22P02": {`invalid input syntax for type bigint: "Ann "X" Other"`, `invalid input syntax for type bigint: "***" (SQLSTATE 22P02)`},
		"42703": {`column "phone" does not exist`, `column "phone" does not exist (SQLSTATE 42703)`},
	} {
		require.Contains(t, errs.Message(db.explain(&pgconn.PgError{Code: code, Message: messages[0]})), messages[1])
	}
}
