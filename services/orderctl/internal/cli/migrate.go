package cli

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/migrations"
)

func (a *app) migrateCommand() *cobra.Command {
	var wait time.Duration
	var createIndexes, dropIndexes bool
	var s databaseSettings
	up := func(cmd *cobra.Command, _ []string) error {
		return a.withDatabase(cmd.Context(), s.Database, wait, a.migrateUp)
	}
	cmd := a.command("migrate", &s, cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		switch {
		case createIndexes && dropIndexes:
			return usagef("--list-indexes, --drop-list-indexes: say one of the two")
		case createIndexes:
			return a.withDatabase(cmd.Context(), s.Database, wait, func(ctx context.Context, db *sql.DB) error {
				return migrations.CreateListIndexes(ctx, db, a.printIndex)
			})
		case dropIndexes:
			return a.withDatabase(cmd.Context(), s.Database, wait, a.dropListIndexes)
		}
		return up(cmd, args)
	})
	cmd.PersistentFlags().DurationVar(&wait, "wait", 0, "how long to wait for the database to be there")
	cmd.Flags().BoolVar(&createIndexes, "list-indexes", false, "create those indexes of lists that are missing, and do nothing else")
	cmd.Flags().BoolVar(&dropIndexes, "drop-list-indexes", false, "drop the indexes of lists, and do nothing else")
	cmd.AddCommand(a.command("migrate up", &s, nil, up), a.command("migrate status", &s, nil, func(cmd *cobra.Command, _ []string) error {
		return a.withDatabase(cmd.Context(), s.Database, wait, a.migrateStatus)
	}), a.migrateDownCommand(&wait), a.migrateRolesCommand(&wait))
	return cmd
}

func (a *app) migrateDownCommand(wait *time.Duration) *cobra.Command {
	var s databaseSettings
	var to int64
	var yes bool
	cmd := a.command("migrate down", &s, nil, func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("to") || to < 0 {
			return usagef("--to: say the version to go down to, 0 for an empty database")
		}
		return a.withDatabase(cmd.Context(), s.Database, *wait, func(ctx context.Context, db *sql.DB) error {
			return a.migrateDown(ctx, db, to, yes)
		})
	})
	cmd.Flags().Int64Var(&to, "to", 0, "version to go down to")
	cmd.Flags().BoolVar(&yes, "yes", false, "really delete the tables of the steps that are undone")
	return cmd
}

func (a *app) migrateUp(ctx context.Context, db *sql.DB) error {
	applied, err := migrations.Up(ctx, db)
	if err != nil {
		return err
	}
	if err := a.writeSteps("applied", applied); err != nil {
		return err
	}
	if len(applied) == 0 {
		return a.sayVersion(ctx, db, "nothing to apply: ")
	}
	return a.sayVersion(ctx, db, "")
}

func (a *app) dropListIndexes(ctx context.Context, db *sql.DB) error {
	if err := migrations.DropListIndexes(ctx, db, a.printIndex); err != nil {
		return err
	}
	a.say("lists and suggestions now come from readers' memory alone: what a reader cannot answer from it is refused with 503. " +
		"ORDERS_RETENTION and orderctl erase --customer read the whole table. Readers of release 0.1.0, which need the indexes, must not run any more. " +
		"To have them again: orderctl migrate --list-indexes (docs/upgrade.md)")
	return nil
}

func (a *app) printIndex(name, what string) error {
	return a.print(struct {
		Index string `json:"index"`
		Done  string `json:"done"`
	}{name, what}, name+": "+what+"\n")
}

func (a *app) migrateDown(ctx context.Context, db *sql.DB, to int64, yes bool) error {
	steps, err := migrations.Status(ctx, db)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range steps {
		if s.Version > to && !s.AppliedAt.IsZero() {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		a.say("nothing to undo above version %d", to)
		return nil
	}
	if !yes {
		return usagef("this would undo %s and delete what their tables hold; add --yes to do it", strings.Join(names, ", "))
	}
	undone, err := migrations.DownTo(ctx, db, to)
	if err != nil {
		return err
	}
	if err := a.writeSteps("undone", undone); err != nil {
		return err
	}
	return a.sayVersion(ctx, db, "")
}

func (a *app) writeSteps(what string, steps []migrations.Migration) error {
	for _, s := range steps {
		err := a.print(struct {
			Version int64     `json:"version"`
			Name    string    `json:"name"`
			Done    string    `json:"done"`
			At      time.Time `json:"at"`
		}{s.Version, s.Name, what, s.AppliedAt.UTC()}, what+" "+s.Name+"\n")
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) sayVersion(ctx context.Context, db *sql.DB, before string) error {
	steps, err := migrations.Status(ctx, db)
	if err != nil {
		return err
	}
	var current int64
	for _, s := range steps {
		if !s.AppliedAt.IsZero() {
			current = s.Version
		}
	}
	a.say("%sthe schema is at version %d", before, current)
	return nil
}

func (a *app) migrateStatus(ctx context.Context, db *sql.DB) error {
	steps, err := migrations.Status(ctx, db)
	if err != nil {
		return err
	}
	if a.output == outputJSON {
		for _, s := range steps {
			if !s.AppliedAt.IsZero() {
				s.AppliedAt = s.AppliedAt.UTC()
			}
			if err := writeJSON(a.stdout, s); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "VERSION\tNAME\tAPPLIED AT")
	for _, s := range steps {
		at := "pending"
		if !s.AppliedAt.IsZero() {
			at = s.AppliedAt.UTC().Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\n", s.Version, s.Name, at)
	}
	return table.Flush()
}

// withDatabase connects, waits for the database if need be, and lets do work.
func (a *app) withDatabase(ctx context.Context, cfg config.Database, wait time.Duration, do func(context.Context, *sql.DB) error) error {
	db, err := a.openDatabase(cfg)
	if err != nil {
		return err
	}
	db.owns = true
	err = a.waiting(ctx, wait, isDatabaseAway, func() error { return db.explain(db.pool.PingContext(ctx)) })
	if err != nil {
		return err
	}
	return db.explain(do(ctx, db.pool.DB))
}

func (a *app) migrateRolesCommand(wait *time.Duration) *cobra.Command {
	var s databaseSettings
	var prefix string
	var dryRun bool
	files := map[migrations.Role]*string{} // of passwords
	cmd := a.command("migrate roles", &s, nil, func(cmd *cobra.Command, _ []string) error {
		verifiers := map[migrations.Role]string{}
		for role, file := range files {
			if *file == "" {
				continue
			}
			password, err := os.ReadFile(*file)
			if err == nil {
				verifiers[role], err = scramVerifier(strings.TrimRight(string(password), "\r\n"))
			}
			if err != nil {
				return usagef("--%s-password-file %s: %w", role, *file, err)
			}
		}
		return a.withDatabase(cmd.Context(), s.Database, *wait, func(ctx context.Context, db *sql.DB) error {
			plan, err := migrations.PlanRoles(ctx, db, prefix, verifiers)
			if err != nil {
				return err
			}
			return a.migrateRoles(ctx, db, prefix, plan, dryRun)
		})
	})
	cmd.Flags().StringVar(&prefix, "prefix", "orderhub", "what the names of the roles begin with")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the SQL, and change nothing")
	for _, role := range []migrations.Role{migrations.Migrate, migrations.Writer, migrations.Reader, migrations.Operator} {
		files[role] = cmd.Flags().String(string(role)+"-password-file", "", fmt.Sprintf("file with the password of PREFIX_%s; without one, a new role cannot log in", role))
	}
	return cmd
}

func (a *app) migrateRoles(ctx context.Context, db *sql.DB, prefix string, plan *migrations.Plan, dryRun bool) error {
	if !dryRun {
		if err := plan.Apply(ctx, db); err != nil {
			return errs.Wrap(errs.Unavailable, err, "nothing was changed: %v: connect as a superuser, or as the owner of database and tables with CREATEROLE, or have an administrator run what --dry-run prints", err)
		}
	}
	for _, statement := range plan.Statements {
		if err := a.print(map[string]string{"sql": statement}, statement+";\n"); err != nil {
			return err
		}
	}
	switch {
	case len(plan.Statements) == 0:
		a.say("the roles %s_… have all rights that they need: nothing to change", prefix)
	case dryRun:
		a.say("nothing was changed: run it in one transaction; passwords are not shown")
	}
	for _, note := range plan.Notes {
		a.say("%s", note)
	}
	return nil
}

// scramVerifier returns what PostgreSQL stores of a password (RFC 5803), so that the
// password itself reaches neither the server nor its log.
func scramVerifier(password string) (string, error) {
	if password == "" || strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("a password is one line of printable ASCII characters")
	}
	const iterations = 4096 // PostgreSQL's default
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	sum := func(text string) []byte {
		mac := hmac.New(sha256.New, salted)
		_, _ = mac.Write([]byte(text)) // never fails
		return mac.Sum(nil)
	}
	stored, base := sha256.Sum256(sum("Client Key")), base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, base(salt), base(stored[:]), base(sum("Server Key"))), nil
}
