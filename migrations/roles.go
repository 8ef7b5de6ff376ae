package migrations

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Role is what a program does in the database, and so which rights it needs. In the
// database the roles are named PREFIX_migrate, PREFIX_writer and so on.
type Role string

// The roles.
const (
	Migrate  Role = "migrate"  // owns the tables
	Writer   Role = "writer"   // ingest-worker
	Reader   Role = "reader"   // read-api
	Operator Role = "operator" // orderctl, apart from its migrate command
	Viewer   Role = "viewer"   // the operator's rights to read: no role is made for it
)

var (
	//go:embed roles/rights.sql
	rights string
	//go:embed roles/lacking.sql
	lackingQuery string
	//go:embed roles/plan.sql
	planQuery string
)

// RightsError means that a user lacks rights that a program needs.
type RightsError struct {
	User    string
	Missing []string // the statements that grant them
}

func (e *RightsError) Error() string {
	return fmt.Sprintf("user %q lacks rights in the database: run, as the owner of the tables, %s; "+
		"`orderctl migrate roles` makes roles with all rights that they need (docs/roles.md)", e.User, strings.Join(e.Missing, "; "))
}

// CheckRights returns a *RightsError if the connection's user lacks rights that a role
// needs on the tables that exist. It only reads.
func CheckRights(ctx context.Context, db *sql.DB, role Role) error {
	who, err := texts(ctx, db, `SELECT current_user::text`)
	if err != nil {
		return fmt.Errorf("ask who is connected: %w", err)
	}
	return lacking(ctx, db, who[0][0], role)
}

func lacking(ctx context.Context, db querier, user string, role Role) error {
	missing, err := texts(ctx, db, rights+lackingQuery, user, string(role))
	if err != nil {
		return fmt.Errorf("look for missing rights: %w", err)
	}
	if len(missing) == 0 {
		return nil
	}
	return &RightsError{User: user, Missing: slices.Concat(missing...)}
}

// Plan is what is to be done so that the roles of a prefix exist and have their rights.
type Plan struct {
	Statements []string // without passwords
	Notes      []string // for people: what follows from the statements

	prefix  string
	secrets map[int]string // the rest of a statement, by its place
}

var prefixes = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,49}$`)

// PlanRoles plans the roles of a prefix for the first schema of search_path, which may
// have no tables yet. Rights beyond those that a role needs are revoked. Passwords may be
// SCRAM-SHA-256 verifiers in the server's form; a new role without one cannot log in.
// PlanRoles only reads, so anybody may see the plan.
func PlanRoles(ctx context.Context, db *sql.DB, prefix string, passwords map[Role]string) (*Plan, error) {
	if !prefixes.MatchString(prefix) || strings.HasPrefix(prefix, "pg_") {
		return nil, fmt.Errorf("%q cannot be a prefix of roles: use up to 50 of a-z, 0-9 and _, not beginning with a digit or pg_", prefix)
	}
	var old *VersionError
	if err := checkVersion(ctx, db); errors.As(err, new(*ForeignTablesError)) || errors.As(err, &old) && old.Older && old.Current > 0 {
		return nil, err
	}
	roles := []string{}
	for role := range passwords {
		roles = append(roles, string(role))
	}
	steps, err := texts(ctx, db, rights+planQuery, prefix, roles)
	if err != nil {
		return nil, fmt.Errorf("look for roles and their rights: %w", err)
	}
	p := &Plan{prefix: prefix, secrets: map[int]string{}}
	for i, s := range steps {
		statement, role, note := s[0], Role(s[1]), s[2]
		if statement == "" {
			return nil, errors.New(note)
		}
		if role != "" {
			p.secrets[i] = " PASSWORD '" + strings.ReplaceAll(passwords[role], "'", "''") + "'"
		}
		if note != "" {
			p.Notes = append(p.Notes, note)
		}
		p.Statements = append(p.Statements, statement)
	}
	return p, nil
}

// Apply runs the plan in one transaction, and returns a *RightsError if a role then lacks
// rights all the same: GRANT only warns where the user may not grant. The error of a
// statement begins with the statement.
func (p *Plan) Apply(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	for i, statement := range p.Statements {
		if _, err := tx.ExecContext(ctx, statement+p.secrets[i]); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	for _, role := range []Role{Writer, Reader, Operator} {
		if err := lacking(ctx, tx, p.prefix+"_"+string(role), role); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Prefix returns that of the roles, or "" if the owner of the tables is no such role.
func Prefix(ctx context.Context, db querier) (string, error) {
	owner, err := texts(ctx, db, `SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = to_regclass('orders')`)
	if err != nil || len(owner) == 0 {
		return "", err
	}
	prefix, ours := strings.CutSuffix(owner[0][0], "_"+string(Migrate))
	if !ours || !prefixes.MatchString(prefix) {
		return "", nil
	}
	return prefix, nil
}

// grantNew gives the roles their rights on tables that were created since, if the owner of
// the tables is such a role.
func grantNew(ctx context.Context, db *sql.DB) error {
	prefix, err := Prefix(ctx, db)
	if err != nil || prefix == "" {
		return err
	}
	p, err := PlanRoles(ctx, db, prefix, nil)
	if err != nil || slices.ContainsFunc(p.Statements, func(s string) bool { return strings.HasPrefix(s, "CREATE ROLE ") }) {
		return err // there are no such roles
	}
	p.Statements = slices.DeleteFunc(p.Statements, func(s string) bool { return !strings.HasPrefix(s, "GRANT ") || !strings.Contains(s, " ON ") })
	return p.Apply(ctx, db)
}

func texts(ctx context.Context, db querier, query string, args ...any) ([][]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	var all [][]string
	for err == nil && rows.Next() {
		row := make([]string, 3)
		err = rows.Scan([]any{&row[0], &row[1], &row[2]}[:len(columns)]...)
		all = append(all, row[:len(columns)])
	}
	return all, errors.Join(err, rows.Err())
}
