package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3/database"
)

const (
	// versionTable records the applied steps. Programs that use goose share the name
	// of its own table, and would take each other's steps for theirs.
	versionTable = "orderhub_db_version"
	// olderTable is goose's own, which Orderhub used up to version 0.1.0. It is read
	// once, when its versions are copied, and never written.
	olderTable = "goose_db_version"
	// olderSteps are the steps that were ever recorded there; later ones are another
	// program's.
	olderSteps = 3
	// lastRelease is the version of the schema of release 0.1.0, which the programs also
	// work with.
	lastRelease = 3
)

// needed are columns by which a table is known to be Orderhub's. An order's table
// comes first: parts without one belong to somebody else.
var needed = []struct {
	table   string
	columns []string
}{
	{"orders", []string{"order_uid", "content_hash", "change_xid"}},
	{"deliveries", []string{"order_uid", "name", "phone", "zip", "city", "address", "region", "email"}},
	{"payments", []string{"order_uid", "transaction", "payment_dt", "amount"}},
	{"items", []string{"order_uid", "position", "chrt_id"}},
}

// ForeignTablesError means that tables with the names of Orderhub's belong to
// another program. Nothing was changed.
type ForeignTablesError struct {
	Schema string
	Tables []string // each with the columns that it lacks
}

func (e *ForeignTablesError) Error() string {
	return fmt.Sprintf("schema %q has tables of another program: %s; nothing was changed. "+
		"Give Orderhub a schema of its own (CREATE SCHEMA orderhub, and ?search_path=orderhub in DATABASE_URL) or another database, and run `orderctl migrate`; "+
		"`orderctl import --from` then copies the orders (docs/moving-over.md)", e.Schema, strings.Join(e.Tables, ", "))
}

// VersionError means that the schema is older than this program needs.
type VersionError struct {
	Current, Needed int64
	// Older means that an older orderctl applied the steps, and recorded them in
	// goose's own table only.
	Older bool
}

func (e *VersionError) Error() string {
	without := ""
	if e.Usable() {
		without = "; until then the programs do without what later versions add (docs/upgrade.md)"
	}
	switch {
	case e.Current == 0:
		return fmt.Sprintf("the database has no schema yet (this binary needs version %d): run `orderctl migrate`", e.Needed)
	case e.Older:
		return fmt.Sprintf("the database's schema is at version %d, applied by an older orderctl; this binary needs %d, recorded in %s: run `orderctl migrate`%s",
			e.Current, e.Needed, versionTable, without)
	}
	return fmt.Sprintf("the database's schema is at version %d, this binary needs %d: run `orderctl migrate`%s", e.Current, e.Needed, without)
}

// Usable tells whether the schema is at least that of the last release. The services and
// the commands that only read work with it, without what later steps add.
func (e *VersionError) Usable() bool { return e.Current >= lastRelease }

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// place says which tables a name stands for.
type place string

const (
	// visible is what the programs' statements refer to: the first of its name in
	// search_path.
	visible place = ``
	// created is what a migration's statements create: always in the first schema of
	// search_path.
	created place = `quote_ident(current_schema()) || '.' || `
)

// columnsQuery takes the names of tables, and returns those that exist.
const columnsQuery = `SELECT c.relname::text, c.relnamespace::regnamespace::text,
		(SELECT coalesce(string_agg(a.attname, ','), '') FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
	FROM unnest($1::text[]) AS wanted (name) JOIN pg_class c ON c.oid = to_regclass(%s wanted.name)`

type tables map[string][]string

// look returns the tables of a place, or a *ForeignTablesError.
func look(ctx context.Context, db querier, where place) (tables, error) {
	names := []string{versionTable, olderTable}
	for _, n := range needed {
		names = append(names, n.table)
	}
	rows, err := texts(ctx, db, fmt.Sprintf(columnsQuery, where), names)
	if err != nil {
		return nil, fmt.Errorf("look for Orderhub's tables: %w", err)
	}
	found, foreign := tables{}, &ForeignTablesError{}
	for _, row := range rows {
		name, schema, columns := row[0], row[1], row[2]
		found[name] = strings.Split(columns, ",")
		if name != versionTable && name != olderTable {
			foreign.Schema = schema
		}
	}
	ours := false // the orders, without which no part is Orderhub's
	for _, n := range needed {
		columns, exists := found[n.table]
		lacks := slices.DeleteFunc(slices.Clone(n.columns), func(c string) bool { return slices.Contains(columns, c) })
		if n.table == "orders" {
			ours = len(lacks) == 0
		}
		switch {
		case exists && len(lacks) > 0:
			foreign.Tables = append(foreign.Tables, fmt.Sprintf("%s (without %s)", n.table, strings.Join(lacks, ", ")))
		case exists && !ours:
			foreign.Tables = append(foreign.Tables, n.table)
		}
	}
	if len(foreign.Tables) > 0 {
		return nil, foreign
	}
	return found, nil
}

// applied reads when each step was applied, and whether goose's own table tells so.
func (t tables) applied(ctx context.Context, db querier) (steps map[int64]time.Time, older bool, err error) {
	steps = map[int64]time.Time{}
	table, most := versionTable, int64(1<<62)
	if t[versionTable] == nil {
		table, most, older = olderTable, olderSteps, true
	}
	if t[table] == nil || t["orders"] == nil {
		return steps, older, nil // without tables no step is applied, whatever is recorded
	}
	rows, err := db.QueryContext(ctx, `SELECT version_id, tstamp FROM `+table+` WHERE is_applied AND version_id BETWEEN 1 AND $1`, most)
	if err != nil {
		return nil, older, fmt.Errorf("read the schema's version: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, older, fmt.Errorf("read the schema's version: %w", err)
		}
		steps[version] = at
	}
	if err := rows.Err(); err != nil {
		return nil, older, fmt.Errorf("read the schema's version: %w", err)
	}
	return steps, older, nil
}

// store is goose's, on the version table. goose calls it under the advisory lock.
type store struct{ database.Store }

// TableExists tells goose whether the version table exists. As the first that goose
// asks, it ends a migration that would meet another program's tables.
func (s store) TableExists(ctx context.Context, db database.DBTxConn) (bool, error) {
	found, err := look(ctx, db, created)
	if err != nil {
		return false, err
	}
	if found[versionTable] != nil && found["orders"] == nil {
		var recorded int
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM `+versionTable+` WHERE version_id > 0`).Scan(&recorded); err != nil {
			return false, fmt.Errorf("read the schema's version: %w", err)
		}
		if recorded > 0 {
			return false, errors.New(versionTable + " records steps, but there is no table orders: an older orderctl undid them, or somebody dropped the tables; " +
				"restore them, or DROP TABLE " + versionTable + " and run `orderctl migrate`")
		}
	}
	if found[versionTable] == nil && found["orders"] != nil && found[olderTable] == nil {
		return false, errors.New("the tables are Orderhub's, but neither " + versionTable + " nor " + olderTable + " tells their version: restore that table from the backup, too")
	}
	return found[versionTable] != nil, nil
}

// CreateVersionTable also copies what an older orderctl recorded, and who may read it.
func (s store) CreateVersionTable(ctx context.Context, db database.DBTxConn) error {
	if err := s.Store.CreateVersionTable(ctx, db); err != nil {
		return err
	}
	found, err := look(ctx, db, created)
	if err != nil || found["orders"] == nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO `+versionTable+` (version_id, is_applied, tstamp)
		SELECT version_id, is_applied, tstamp FROM `+olderTable+` WHERE is_applied AND version_id BETWEEN 1 AND $1 ORDER BY id`, olderSteps); err != nil {
		return fmt.Errorf("copy the versions of %s: %w", olderTable, err)
	}
	if _, err := db.ExecContext(ctx, copyGrants); err != nil {
		return fmt.Errorf("copy the grants of %s: %w", olderTable, err)
	}
	return nil
}

// copyGrants lets the roles of the services read the new table as they read the old one.
const copyGrants = `DO $$
DECLARE reader text;
BEGIN
	FOR reader IN SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
		FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = '` + olderTable + `'::regclass AND a.privilege_type = 'SELECT'
	LOOP
		EXECUTE format('GRANT SELECT ON ` + versionTable + ` TO %s', reader);
	END LOOP;
END $$`
