package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// The indexes that lists and suggestions are read along where a reader cannot answer them
// from memory. Steps 1 and 3 make them. They are optional: DropListIndexes.
const (
	NewestIndex      = "orders_newest"
	CustomerIndex    = "orders_customer"
	TrackNumberIndex = "orders_track_number"
)

// listIndexes are as the steps make them.
var listIndexes = []struct{ name, columns string }{
	{NewestIndex, "date_created DESC, order_uid DESC"},
	{CustomerIndex, "hashtextextended(customer_id, 0), date_created DESC NULLS LAST, order_uid DESC NULLS LAST"},
	{TrackNumberIndex, "hashtextextended(track_number, 0), date_created DESC NULLS LAST, order_uid DESC NULLS LAST"},
}

// What became of a list index.
const (
	IndexCreated   = "created"
	IndexRecreated = "created again" // an interrupted attempt had left it unusable
	IndexCompleted = "completed"     // of a partitioned table; an interrupted attempt had left out partitions
	IndexPresent   = "present already"
	IndexDropped   = "dropped"
	IndexAbsent    = "absent already"
)

// CreateListIndexes creates the list indexes that are missing or unusable, beside programs
// under load, and calls did with what became of each. It takes turns with Up. If it is
// interrupted, it is to be called again. The schema must be that of the last release at
// least, or the error is a *VersionError.
func CreateListIndexes(ctx context.Context, db *sql.DB, did func(name, what string) error) error {
	return changeListIndexes(ctx, db, "create", did, createIndex)
}

// DropListIndexes drops the list indexes, as CreateListIndexes creates them.
func DropListIndexes(ctx context.Context, db *sql.DB, did func(name, what string) error) error {
	return changeListIndexes(ctx, db, "drop", did, func(ctx context.Context, conn *sql.Conn, table, name, _ string) (string, error) {
		return dropIndex(ctx, conn, table, name)
	})
}

// AbsentListIndexes are the names of the list indexes that do not exist.
func AbsentListIndexes(ctx context.Context, db *sql.DB) (absent []string, err error) {
	for _, index := range listIndexes {
		found, err := findIndex(ctx, db, "orders", index.name)
		if err != nil {
			return nil, err
		}
		if found.index == "" {
			absent = append(absent, index.name)
		}
	}
	return absent, nil
}

func changeListIndexes(ctx context.Context, db *sql.DB, doing string, did func(name, what string) error,
	change func(ctx context.Context, conn *sql.Conn, table, name, columns string) (string, error),
) (err error) {
	var older *VersionError
	if err := checkVersion(ctx, db); err != nil && (!errors.As(err, &older) || !older.Usable()) {
		return err
	}
	locker, err := sessionLocker()
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := locker.SessionLock(ctx, conn); err != nil {
		return fmt.Errorf("take turns with other migrations: %w", err)
	}
	defer func() {
		if unlocked := locker.SessionUnlock(context.WithoutCancel(ctx), conn); err == nil {
			err = unlocked // else the session may have ended, and its lock with it
		}
	}()
	// Statements with CONCURRENTLY keep nobody waiting, and have to outlast long transactions.
	if _, err := conn.ExecContext(ctx, `SELECT set_config('lock_timeout', '0', false), set_config('statement_timeout', '0', false)`); err != nil {
		return fmt.Errorf("prepare the session: %w", err)
	}
	for _, index := range listIndexes {
		what, err := change(ctx, conn, "orders", index.name, index.columns)
		if err != nil {
			return fmt.Errorf("%s the index %s: %w", doing, index.name, err)
		}
		if err := did(index.name, what); err != nil {
			return err
		}
	}
	return nil
}

// indexState is what is known of a table's index. The names are as statements need them.
type indexState struct {
	index       string // "": it does not exist
	valid       bool
	partitioned bool // the table
}

func findIndex(ctx context.Context, db querier, table, name string) (indexState, error) {
	rows, err := texts(ctx, db, `SELECT c.relkind::text, coalesce(x.indexrelid::regclass::text, ''), coalesce(x.indisvalid, false)::text
		FROM pg_class c LEFT JOIN (pg_index x JOIN pg_class i ON i.oid = x.indexrelid AND i.relname = $2) ON x.indrelid = c.oid
		WHERE c.oid = to_regclass($1)`, table, name)
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("there is no table %s", table)
	}
	if err != nil {
		return indexState{}, fmt.Errorf("look for the index: %w", err)
	}
	return indexState{index: rows[0][1], valid: rows[0][2] == "true", partitioned: rows[0][0] == "p"}, nil
}

// createIndex creates an index of a table or a partition. Of a partitioned table it creates
// those of the partitions one by one, since CONCURRENTLY is not for all at once.
func createIndex(ctx context.Context, conn *sql.Conn, table, name, columns string) (what string, err error) {
	found, err := findIndex(ctx, conn, table, name)
	switch {
	case err != nil:
		return "", err
	case found.valid:
		return IndexPresent, nil
	case found.partitioned:
		return createParts(ctx, conn, table, name, columns, found)
	}
	what = IndexCreated
	if found.index != "" {
		what = IndexRecreated
		if err := execute(ctx, conn, `DROP INDEX CONCURRENTLY `+found.index); err != nil {
			return "", err
		}
	}
	return what, execute(ctx, conn, `CREATE INDEX CONCURRENTLY `+quoted(name)+` ON `+table+` (`+columns+`)`)
}

func createParts(ctx context.Context, conn *sql.Conn, table, name, columns string, found indexState) (what string, err error) {
	what = IndexCompleted
	if found.index == "" {
		what = IndexCreated
		if err := executeBriefly(ctx, conn, `CREATE INDEX `+quoted(name)+` ON ONLY `+table+` (`+columns+`)`); err != nil {
			return "", err
		}
		if found, err = findIndex(ctx, conn, table, name); err != nil {
			return "", err
		}
	}
	partitions, err := partitionsOf(ctx, conn, table, name)
	if err != nil {
		return "", err
	}
	for _, p := range partitions {
		if p.attached {
			continue
		}
		if _, err := createIndex(ctx, conn, p.table, p.index, columns); err != nil {
			return "", err
		}
		part, err := findIndex(ctx, conn, p.table, p.index)
		if err != nil {
			return "", err
		}
		// The last one makes the table's index valid.
		if err := executeBriefly(ctx, conn, `ALTER INDEX `+found.index+` ATTACH PARTITION `+part.index); err != nil {
			return "", err
		}
	}
	return what, nil
}

// dropIndex drops an index of a table, also what an interrupted attempt has left of it. That of
// a partitioned table cannot be dropped concurrently.
func dropIndex(ctx context.Context, conn *sql.Conn, table, name string) (what string, err error) {
	found, err := findIndex(ctx, conn, table, name)
	if err != nil {
		return "", err
	}
	what = IndexAbsent
	if found.index != "" {
		what = IndexDropped
		drop, statement := execute, `DROP INDEX CONCURRENTLY `
		if found.partitioned {
			drop, statement = executeBriefly, `DROP INDEX `
		}
		if err := drop(ctx, conn, statement+found.index); err != nil {
			return "", err
		}
	}
	if !found.partitioned {
		return what, nil
	}
	partitions, err := partitionsOf(ctx, conn, table, name)
	for _, p := range partitions {
		if err == nil {
			_, err = dropIndex(ctx, conn, p.table, p.index)
		}
	}
	return what, err
}

// partition is a table's partition, and the index of it that CreateListIndexes makes.
type partition struct {
	table    string // as statements need it
	index    string // its name
	attached bool   // the partition has its part of the table's index
}

func partitionsOf(ctx context.Context, conn *sql.Conn, table, index string) (all []partition, err error) {
	// name cuts off what is too long, as PostgreSQL does where an index is created.
	rows, err := texts(ctx, conn, `SELECT c.oid::regclass::text, (c.relname || $3::text)::name::text, (EXISTS (
			SELECT FROM pg_index x JOIN pg_inherits part ON part.inhrelid = x.indexrelid
			JOIN pg_index whole ON whole.indexrelid = part.inhparent AND whole.indrelid = p.inhparent JOIN pg_class i ON i.oid = whole.indexrelid
			WHERE x.indrelid = c.oid AND i.relname = $2))::text
		FROM pg_inherits p JOIN pg_class c ON c.oid = p.inhrelid WHERE p.inhparent = to_regclass($1) ORDER BY c.oid`,
		table, index, strings.TrimPrefix(index, "orders"))
	if err != nil {
		return nil, fmt.Errorf("look for the partitions of %s: %w", table, err)
	}
	for _, row := range rows {
		all = append(all, partition{table: row[0], index: row[1], attached: row[2] == "true"})
	}
	return all, nil
}

func execute(ctx context.Context, conn *sql.Conn, statement string) error {
	if _, err := conn.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// executeBriefly runs a statement whose lock keeps others waiting: it gives up after as long as
// a step may wait.
func executeBriefly(ctx context.Context, conn *sql.Conn, statement string) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	for _, s := range []string{`SET LOCAL lock_timeout = '5s'`, statement} {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return tx.Commit()
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
