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

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
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

// Up applies the pending steps, each in its own transaction, and returns them. It
// changes nothing where tables of another program stand in the way: the error is a
// *ForeignTablesError. Versions that an older orderctl recorded are taken over.
// If the tables' owner is a role of PlanRoles, the other roles get their rights on new
// tables. Several processes may call it at once: they take turns, and the later ones
// have nothing to do.
//
// A step and a program that has locked another of the tables first may wait for each other.
// PostgreSQL then ends one of the two. If it is the step, that has changed nothing, and is tried again.
func Up(ctx context.Context, db *sql.DB) (applied []Migration, err error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		results, err := p.Up(ctx)
		failed, is := errors.AsType[*goose.PartialError](err)
		if is {
			results = failed.Applied
		}
		applied = append(applied, fromResults(results)...)
		if err == nil {
			break
		}
		if !isDeadlock(err) || try == maxDeadlocks {
			return nil, explain("migrate up", err)
		}
	}
	// A step whose tables lack grants counts as applied: the next call grants them.
	if err := grantNew(ctx, db); err != nil {
		return applied, fmt.Errorf("the steps are applied; give the roles their rights: %w", err)
	}
	return applied, nil
}

const maxDeadlocks = 5

func isDeadlock(err error) bool {
	var refused interface{ SQLState() string } // as the drivers of PostgreSQL have it
	return errors.As(err, &refused) && refused.SQLState() == "40P01"
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
		return nil, explain("migrate down", err)
	}
	return fromResults(results), nil
}

// Status lists all steps in order, applied or pending. It changes nothing.
func Status(ctx context.Context, db *sql.DB) ([]Migration, error) {
	all, _, err := steps(ctx, db, created)
	return all, err
}

// steps lists all steps in order, and whether goose's own table tells which are applied.
func steps(ctx context.Context, db *sql.DB, where place) (all []Migration, older bool, err error) {
	p, err := provider(db)
	if err != nil {
		return nil, false, err
	}
	found, err := look(ctx, db, where)
	if err != nil {
		return nil, false, err
	}
	applied, older, err := found.applied(ctx, db)
	for _, s := range p.ListSources() {
		all = append(all, Migration{Version: s.Version, Name: s.Path, AppliedAt: applied[s.Version]})
	}
	return all, older, err
}

// Check returns a *VersionError if a step is missing, a *ForeignTablesError if the tables
// that the programs would use are another program's, and a *RightsError if the user lacks
// rights that a role needs. A newer schema is no error: migrations are applied before the
// programs that need them are rolled out, while older ones still run. Check only reads,
// so it works on a standby.
func Check(ctx context.Context, db *sql.DB, role Role) error {
	err := checkVersion(ctx, db)
	if errors.As(err, new(*ForeignTablesError)) {
		return err
	}
	// Without rights, a schema cannot be read, or looks empty.
	if rights := CheckRights(ctx, db, role); rights != nil && (err == nil || errors.As(rights, new(*RightsError))) {
		return rights
	}
	return err
}

// CheckUsable is Check for programs that also work with an older schema: it returns older
// instead of an error where that is usable.
func CheckUsable(ctx context.Context, db *sql.DB, role Role) (older *VersionError, err error) {
	if err = Check(ctx, db, role); errors.As(err, &older) && older.Usable() {
		return older, nil
	}
	return nil, err
}

func checkVersion(ctx context.Context, db *sql.DB) error {
	all, older, err := steps(ctx, db, visible)
	if err != nil {
		return err
	}
	needed, current := all[len(all)-1].Version, int64(0)
	for _, s := range all {
		if !s.AppliedAt.IsZero() {
			current = s.Version
		}
	}
	if older || current < needed {
		return &VersionError{Current: current, Needed: needed, Older: older}
	}
	return nil
}

// explain leaves out what goose was doing when it met another program's tables.
func explain(doing string, err error) error {
	var foreign *ForeignTablesError
	if errors.As(err, &foreign) {
		return foreign
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func provider(db *sql.DB) (*goose.Provider, error) {
	locker, err := sessionLocker()
	if err != nil {
		return nil, err
	}
	versions, err := database.NewStore(database.DialectPostgres, versionTable)
	if err != nil {
		return nil, fmt.Errorf("migrations' version table: %w", err)
	}
	p, err := goose.NewProvider("", db, sqlFiles(), goose.WithStore(store{versions}), goose.WithSessionLocker(locker))
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}

// sessionLocker asks for its lock again and again: a statement that waits for one would keep
// CREATE INDEX CONCURRENTLY waiting.
func sessionLocker() (lock.SessionLocker, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID), lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, fmt.Errorf("migrations' lock: %w", err)
	}
	return locker, nil
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
