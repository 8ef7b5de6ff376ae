package cli

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/otherdb"
)

// An import resumes after a uid, so orders with one uid are done together.
func TestAPageOfAnImportEndsAfterAWholeUID(t *testing.T) {
	for _, c := range []struct {
		uids  string
		rate  float64 // orders a page
		pages []string
	}{
		{"", 2, nil}, {"a b c", 2, []string{"a b", "c"}}, {"a b b c", 2, []string{"a b b", "c"}}, {"b b b", 2, []string{"b b b"}}, {"a b b", 0.5, []string{"a", "b b"}},
		{"a b c", 0, []string{"a b c"}},
	} {
		left := strings.Fields(c.uids)
		r := importRun{f: &importFlags{rate: c.rate}, next: func(context.Context) (otherdb.Order, error) {
			if len(left) == 0 {
				return otherdb.Order{}, io.EOF
			}
			order := otherdb.Order{UID: left[0]}
			left = left[1:]
			return order, nil
		}}
		var pages []string
		for {
			page, err := r.page(t.Context())
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			var uids []string
			for _, order := range page {
				uids = append(uids, order.UID)
			}
			pages = append(pages, strings.Join(uids, " "))
		}
		require.Equal(t, c.pages, pages, "%q", c.uids)
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
