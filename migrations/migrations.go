// Package migrations embeds the database schema as goose SQL, so that any program
// can apply it or check whether it is up to date.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed sql/*.sql
var files embed.FS

// lockID is the advisory lock that allows one process at a time to migrate.
const lockID = 0x6f7264657268 // "orderh"

// Migration is one step of the schema.
type Migration struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	AppliedAt time.Time `json:"applied_at,omitzero"` // zero: pending
}

// VersionError means that the schema is older than this program needs.
type VersionError struct{ Current, Needed int64 }

func (e *VersionError) Error() string {
	if e.Current == 0 {
		return fmt.Sprintf("the database has no schema yet (this binary needs version %d): run `orderctl migrate`", e.Needed)
	}
	return fmt.Sprintf("the database's schema is at version %d, this binary needs %d: run `orderctl migrate`", e.Current, e.Needed)
}

// Up applies the pending steps, each in its own transaction, and returns them.
// Several processes may call it at once: they take turns, and the later ones have
// nothing to do.
func Up(ctx context.Context, db *sql.DB) ([]Migration, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	results, err := p.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate up: %w", err)
	}
	return fromResults(results), nil
}

// DownTo undoes every step above version, newest first, and deletes the data in the
// tables of these steps. DownTo(0) leaves an empty database.
func DownTo(ctx context.Context, db *sql.DB, version int64) ([]Migration, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	results, err := p.DownTo(ctx, version)
	if err != nil {
		return nil, fmt.Errorf("migrate down: %w", err)
	}
	return fromResults(results), nil
}

// Status lists all steps in order, applied or pending. It changes nothing.
func Status(ctx context.Context, db *sql.DB) ([]Migration, error) {
	sources, err := known()
	if err != nil {
		return nil, err
	}
	applied, err := appliedVersions(ctx, db)
	if err != nil {
		return nil, err
	}
	steps := make([]Migration, 0, len(sources))
	for _, s := range sources {
		steps = append(steps, Migration{Version: s.Version, Name: s.Path, AppliedAt: applied[s.Version]})
	}
	return steps, nil
}

// Check returns a *VersionError if a step is missing. A newer schema is no error:
// migrations are applied before the programs that need them are rolled out, while
// older ones still run. Check only reads, so it works on a standby and for a user
// without rights to create tables.
func Check(ctx context.Context, db *sql.DB) error {
	sources, err := known()
	if err != nil {
		return err
	}
	applied, err := appliedVersions(ctx, db)
	if err != nil {
		return err
	}
	needed, current := sources[len(sources)-1].Version, int64(0)
	for version := range applied {
		current = max(current, version)
	}
	if current < needed {
		return &VersionError{Current: current, Needed: needed}
	}
	return nil
}

func appliedVersions(ctx context.Context, db *sql.DB) (map[int64]time.Time, error) {
	applied := map[int64]time.Time{}
	rows, err := db.QueryContext(ctx, `SELECT version_id, tstamp FROM goose_db_version WHERE is_applied AND version_id > 0`)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "42P01" { // undefined_table: no step was ever applied
		return applied, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, fmt.Errorf("read the schema's version: %w", err)
		}
		applied[version] = at
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	return applied, nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID), lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, fmt.Errorf("migrations' lock: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, sqlFiles(), goose.WithSessionLocker(locker))
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}

// known lists the embedded steps without using a database.
func known() ([]*goose.Source, error) {
	p, err := goose.NewProvider(goose.DialectPostgres, new(sql.DB), sqlFiles())
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p.ListSources(), nil
}

func sqlFiles() fs.FS {
	sub, err := fs.Sub(files, "sql")
	if err != nil {
		panic(err) // the folder is embedded at build time
	}
	return sub
}

func fromResults(results []*goose.MigrationResult) []Migration {
	steps := make([]Migration, 0, len(results))
	for _, r := range results {
		steps = append(steps, Migration{Version: r.Source.Version, Name: r.Source.Path, AppliedAt: time.Now()})
	}
	return steps
}
