// Package schema waits until the database has the tables that the worker needs.
package schema

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/migrations"
)

// Wait returns nil once the database can be reached and has the schema that the worker
// needs, and reports to component until then: a worker that cannot write must not own
// partitions. It waits for a database that cannot be reached, for one whose tables are
// another program's, and for rights that are missing, so that /readyz keeps saying so. A schema that is missing or
// older than that of the last release is a *migrations.VersionError at once.
func Wait(ctx context.Context, db *sql.DB, component *health.Component, log *zap.Logger) error {
	backoff := retry.NewBackoff(2 * time.Second)
	for said := false; ; said = true {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		older, err := migrations.CheckUsable(attempt, db, migrations.Writer)
		cancel()
		var version *migrations.VersionError
		switch {
		case err == nil:
			component.Ready("")
			if older != nil {
				log.Warn("the schema is older than this program", zap.Error(older))
			}
			log.Info("database ready")
			return nil
		case errors.As(err, &version):
			component.NotReady(err.Error())
			return err
		case ctx.Err() != nil: // the worker stops, and waits for nothing
			return ctx.Err()
		}
		component.NotReady(err.Error())
		if !said {
			level := zap.WarnLevel
			if errors.As(err, new(*migrations.ForeignTablesError)) || errors.As(err, new(*migrations.RightsError)) {
				level = zap.ErrorLevel
			}
			log.Log(level, "waiting for the database", zap.Error(err))
		}
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}
