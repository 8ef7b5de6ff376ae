// Package bundb opens PostgreSQL the one way that Orderhub's programs use: bun on
// pgx.
package bundb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/tracing"
)

// ErrSettings means that a new connection could not be made because the settings' files
// cannot be used at present.
var ErrSettings = errors.New("no new connection")

// Options of a pool.
type Options struct {
	MaxConns        int    // most connections, idle ones included; at least 1
	ApplicationName string // as pg_stat_activity shows it
	// Metrics gets the pool's figures, go_sql_…{db_name="orders"}; nil: none.
	Metrics prometheus.Registerer
}

// Open returns a pool. It connects when first used, so a database that is away is
// no error here. Each new connection reads the settings' files anew, as Config does, so
// that a password or a certificate can be rotated.
//
// Statements are sent with their arguments and are not kept prepared: bun writes
// values into the text, and a prepared statement would be kept for each text.
// Callers with fixed text on a raw pgx connection may ask for
// pgx.QueryExecModeCacheStatement.
func Open(cfg config.Database, opts Options) (*bun.DB, error) {
	conn, err := Config(cfg, opts.ApplicationName)
	if err != nil {
		return nil, err
	}
	present := stdlib.OptionBeforeConnect(func(_ context.Context, conn *pgx.ConnConfig) error {
		now, err := Config(cfg, opts.ApplicationName)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSettings, err)
		}
		*conn = *now
		conn.DefaultQueryExecMode = pgx.QueryExecModeExec
		return nil
	})
	pool := sql.OpenDB(stdlib.GetConnector(*conn, present))
	pool.SetMaxOpenConns(opts.MaxConns)
	pool.SetMaxIdleConns(opts.MaxConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	if opts.Metrics != nil {
		opts.Metrics.MustRegister(collectors.NewDBStatsCollector(pool, "orders"))
	}
	return bun.NewDB(pool, pgdialect.New()), nil
}

// Validate names the setting whose value is not a PostgreSQL address, for Validate
// methods.
func Validate(name string, url config.Secret) error {
	_, err := parse(name, url)
	return err
}

func parse(name string, url config.Secret) (*pgx.ConnConfig, error) {
	// A flag or a program may hand on the line break of a file.
	conn, err := pgx.ParseConfig(strings.TrimRight(url.Reveal(), "\r\n"))
	if err != nil {
		// pgx hides the password in its message, but quotes the rest.
		return nil, fmt.Errorf("%s: not a PostgreSQL address such as postgres://user@host:5432/orders: %w", name, err)
	}
	return conn, nil
}

// Config returns the settings of a single connection outside a pool, such as one that
// listens for notifications. It reads all files anew: that of the address, of passwords
// (PGPASSFILE) and of certificates. Call it for each connection.
func Config(cfg config.Database, application string) (*pgx.ConnConfig, error) {
	address, err := cfg.URL.Now(cfg.URLFile)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL_FILE: %w", err)
	}
	conn, err := parse("DATABASE_URL", address)
	if err != nil {
		return nil, err
	}
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = 5 * time.Second
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = application
	}
	if tracing.On() {
		conn.Tracer = queries{}
	}
	return conn, nil
}

// Raw calls use with the pgx connection under conn. use must not keep it.
func Raw(conn bun.Conn, use func(*pgx.Conn) error) error {
	return conn.Raw(func(driver any) error {
		std, ok := driver.(*stdlib.Conn)
		if !ok {
			return errors.New("bundb: the connection is not from a pool that Open returned")
		}
		return use(std.Conn())
	})
}
