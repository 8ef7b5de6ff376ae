package rig

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers pgx with database/sql

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// Settings of the server. Everything that keeps data safe is on. Checkpoints are
// made between runs, and autovacuum is off, so that they do not fall into one
// run and not into another; WAL segments are kept for the next run to use.
var settings = map[string]string{
	"fsync":              "on",
	"full_page_writes":   "on",
	"synchronous_commit": "on",
	"shared_buffers":     "1GB",
	"min_wal_size":       "4GB",
	"max_wal_size":       "16GB",
	"checkpoint_timeout": "30min",
	"autovacuum":         "off",
	"max_connections":    "60",
}

// QuarterOfMemory is the shared_buffers that a server is mostly given that has the
// machine to itself.
func QuarterOfMemory() string {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return settings["shared_buffers"]
	}
	return fmt.Sprintf("%dMB", max(128, info.Totalram*uint64(info.Unit)/4>>20))
}

// Server is a private PostgreSQL, with a template that each run's database is a
// fresh copy of: all runs find the same state.
type Server struct {
	*postgres.Server
	admin *sql.DB
	runs  int
	fill  *Fill // of the template; nil: it has no orders
}

const templateName = "bench_template"

// StartServer starts a server whose template has the schema and no orders. extra
// are settings that win over the benchmark's own.
func StartServer(ctx context.Context, extra map[string]string, log io.Writer) (*Server, error) {
	all := maps.Clone(settings)
	maps.Copy(all, extra)
	pg, err := postgres.Start(ctx, postgres.Options{Settings: all, LogWriter: log})
	if err != nil {
		return nil, err
	}
	s := &Server{Server: pg}
	if s.admin, err = sql.Open("pgx", pg.AdminURL()); err == nil {
		err = s.makeTemplate(ctx)
	}
	if err != nil {
		_ = s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) makeTemplate(ctx context.Context) error {
	if _, err := s.admin.ExecContext(ctx, "CREATE DATABASE "+templateName+" OWNER orders"); err != nil {
		return fmt.Errorf("create the template: %w", err)
	}
	db, err := sql.Open("pgx", s.address(s.URL(), templateName))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	_, err = migrations.Up(ctx, db)
	return err
}

// Stop ends the server and removes its data.
func (s *Server) Stop() error {
	if s.admin != nil {
		_ = s.admin.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return s.Server.Stop(ctx)
}

// Version is PostgreSQL's, such as 15.9.
func (s *Server) Version(ctx context.Context) (version string, err error) {
	err = s.admin.QueryRowContext(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&version)
	return version, err
}

// Written is how many bytes of WAL the server has written in its life, and how
// many transactions have.
func (s *Server) Written(ctx context.Context) (bytes, transactions int64, err error) {
	err = s.admin.QueryRowContext(ctx, `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint,
		pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&bytes, &transactions)
	return bytes, transactions, err
}

// Fresh makes a database for one run from the template, flushes everything, and
// returns the database's address; drop removes it.
func (s *Server) Fresh(ctx context.Context) (address string, drop func(), err error) {
	s.runs++
	name := "bench_" + strconv.Itoa(s.runs)
	for _, statement := range []string{
		"CREATE DATABASE " + name + " TEMPLATE " + templateName + " OWNER orders STRATEGY FILE_COPY",
		"CHECKPOINT",
	} {
		if _, err := s.admin.ExecContext(ctx, statement); err != nil {
			return "", nil, fmt.Errorf("make a database for the run: %w", err)
		}
	}
	drop = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, _ = s.admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") // what stays goes with the server
	}
	return s.address(s.URL(), name), drop, nil
}

// Superuser is the superuser's address of a database of Fresh's.
func (s *Server) Superuser(database string) string {
	u, err := url.Parse(database)
	if err != nil {
		panic("an address of Fresh's: " + err.Error())
	}
	return s.address(s.AdminURL(), strings.TrimPrefix(u.Path, "/"))
}

// Preload stores the orders in the template, and copies of them under other uids
// until it holds count orders. It may be called again, with the same orders and a
// larger count.
func (s *Server) Preload(ctx context.Context, orders *Orders, count int) error {
	if s.fill == nil {
		s.fill = NewFill(orders, s.address(s.AdminURL(), templateName))
	}
	return s.fill.To(ctx, count)
}

func (s *Server) address(of, database string) string {
	u, err := url.Parse(of)
	if err != nil {
		panic("devstack's address of PostgreSQL: " + err.Error())
	}
	u.Path = "/" + database
	return u.String()
}
