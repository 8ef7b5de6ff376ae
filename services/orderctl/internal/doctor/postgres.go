package doctor

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/migrations"
)

//go:embed checks.sql
var queries string

// query runs a check that is a query of checks.sql.
func query(ctx context.Context, r *report) (seen string, err error) {
	_, text, _ := strings.Cut(queries, "\n-- "+r.check+"\n")
	text, _, _ = strings.Cut(text, "\n-- postgres.")
	rows, err := r.DB.DB.QueryContext(ctx, text)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, about, evidence, fix string
		if err := rows.Scan(&name, &about, &evidence, &fix); err != nil {
			return "", err
		}
		if seen = evidence; name != "ok" {
			r.find(name, about, evidence, fix)
		}
	}
	return seen, rows.Err()
}

func schema(ctx context.Context, r *report) (string, error) {
	err := migrations.Check(ctx, r.DB.DB, migrations.Viewer)
	switch {
	case err == nil:
		absent, err := migrations.AbsentListIndexes(ctx, r.DB.DB)
		if err != nil {
			return "", err
		}
		for _, name := range absent {
			r.find("no_list_index", name, "lists, counts and suggestions that a reader's memory cannot answer are refused with 503")
		}
		return query(ctx, r)
	case errors.As(err, new(*migrations.VersionError)):
		r.find("outdated", "", err.Error())
	case errors.As(err, new(*migrations.ForeignTablesError)):
		r.find("foreign_tables", "", err.Error())
	default:
		return "", err
	}
	return "", nil
}

// roles looks at this user's rights and at those of the programs' roles, and who
// connects as a superuser.
func roles(ctx context.Context, r *report) (string, error) {
	var lacks *migrations.RightsError
	err := migrations.CheckRights(ctx, r.DB.DB, migrations.Operator)
	if errors.As(err, &lacks) {
		r.find("own_rights", lacks.User, "some commands of orderctl are refused", strings.Join(lacks.Missing, "; "))
		err = nil
	}
	prefix, prefixErr := migrations.Prefix(ctx, r.DB.DB)
	plan := &migrations.Plan{}
	switch err = cmp.Or(err, prefixErr); {
	case err == nil && prefix == "":
		r.find("no_roles", "", "the owner of the tables is no role of Orderhub: programs have more rights than they need")
	case err == nil:
		plan, err = migrations.PlanRoles(ctx, r.DB.DB, prefix, nil)
	}
	if errors.As(err, new(*migrations.VersionError)) {
		return "", unknown("the schema is older: " + err.Error())
	}
	if err != nil {
		return "", err
	}
	for _, statement := range plan.Statements {
		name := "missing_rights"
		if strings.HasPrefix(statement, "REVOKE ") {
			name = "other_rights"
		}
		r.find(name, prefix+"_…", "not done: "+statement, prefix)
	}
	return query(ctx, r)
}

// listen sends a notification from one connection to another. A pooler that gives each
// transaction another session shows before: a session that the second connection holds
// in a transaction cannot be the first one's.
func listen(ctx context.Context, r *report) (string, error) {
	var conns [2]bun.Conn
	for i := range conns {
		var err error
		if conns[i], err = r.DB.Conn(ctx); err != nil {
			return "", err
		}
		defer func() { _ = conns[i].Close() }()
	}
	listener, sender := conns[0], conns[1]
	const session = `SELECT pg_backend_pid()`
	var before, taken, after int
	if err := listener.QueryRowContext(ctx, session).Scan(&before); err != nil {
		return "", err
	}
	for range 10 { // other checks may take the session meanwhile
		err := sender.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			return errors.Join(tx.QueryRowContext(ctx, session).Scan(&taken), listener.QueryRowContext(ctx, session).Scan(&after))
		})
		if err != nil {
			return "", err
		}
		if taken == before || after != before {
			r.find("transaction_mode", "", "a pooler gives each transaction another session: LISTEN has no effect, and readers see changes late")
			return "", nil
		}
	}
	if _, err := listener.ExecContext(ctx, `LISTEN orderhub_doctor`); err != nil {
		return "", err
	}
	if _, err := sender.ExecContext(ctx, `NOTIFY orderhub_doctor`); err != nil {
		return "", err
	}
	waiting, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err := bundb.Raw(listener, func(conn *pgx.Conn) error {
		_, err := conn.WaitForNotification(waiting)
		return err
	})
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		r.find("lost", "", "a notification did not arrive within 3 s: readers see changes late")
		return "", nil
	}
	return "a notification arrived", err
}

func databaseClock(ctx context.Context, r *report) (string, error) {
	var now time.Time
	began := time.Now()
	if err := r.DB.DB.QueryRowContext(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return "", err
	}
	return r.clock("skew", "", now, began), nil
}
