package cli

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
)

func (a *app) migrateCommand() *cobra.Command {
	var wait time.Duration
	var s databaseSettings
	up := func(cmd *cobra.Command, _ []string) error {
		return a.withDatabase(cmd.Context(), s.Database, wait, a.migrateUp)
	}
	cmd := a.command("migrate", &s, cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return up(cmd, args)
	})
	cmd.PersistentFlags().DurationVar(&wait, "wait", 0, "how long to wait for the database to be there")
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

// writeSteps prints the steps that were taken.
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
	db, err := openDatabase(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = db.pool.Close() }()
	db.owns = true
	err = a.waiting(ctx, wait, isDatabaseAway, func() error { return db.explain(db.pool.PingContext(ctx)) })
	if err != nil {
		return err
	}
	return db.explain(do(ctx, db.pool.DB))
}
