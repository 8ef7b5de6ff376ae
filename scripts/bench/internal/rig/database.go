package rig

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // registers pgx with database/sql

	"github.com/orderhub/orderhub/libs/devstack/postgres"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
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

// Server is a private PostgreSQL, with a template that each run's database is a
// fresh copy of: all runs find the same state.
type Server struct {
	*postgres.Server
	admin *sql.DB
	runs  int
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

func (s *Server) address(of, database string) string {
	u, err := url.Parse(of)
	if err != nil {
		panic("devstack's address of PostgreSQL: " + err.Error())
	}
	u.Path = "/" + database
	return u.String()
}

// Preload stores the orders in the template, and copies of them under other uids
// until it holds count orders.
func (s *Server) Preload(ctx context.Context, orders *Orders, count int) error {
	if err := orders.Copy(ctx, s.address(s.URL(), templateName), CopyOptions{Conns: 2}); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.address(s.AdminURL(), templateName))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	// Triggers and foreign keys are off: the copies are whole by construction.
	if _, err := conn.Exec(ctx, "SET session_replication_role = replica"); err != nil {
		return err
	}
	if err := keepOriginals(ctx, conn); err != nil {
		return fmt.Errorf("copy stored orders: %w", err)
	}
	have := orders.Count
	for copies := 1; have < count; copies++ {
		more := min(orders.Count, count-have)
		if err := clone(ctx, conn, copies, more); err != nil {
			return fmt.Errorf("copy stored orders: %w", err)
		}
		have += more
	}
	_, err = conn.Exec(ctx, "VACUUM (ANALYZE)")
	return err
}

// parts are the tables of an order with the columns that are copied.
var parts = []struct {
	table   string
	columns []string
}{
	{"orders", append(slices.Clone(orderdb.OrdersColumns), "content_hash")},
	{"deliveries", orderdb.DeliveriesColumns},
	{"payments", orderdb.PaymentsColumns},
	{"items", orderdb.ItemsColumns},
}

// keepOriginals sets aside the orders that are stored, to be copied.
func keepOriginals(ctx context.Context, conn *pgx.Conn) error {
	for _, p := range parts {
		if _, err := conn.Exec(ctx, "CREATE TEMP TABLE original_"+p.table+" AS TABLE "+p.table); err != nil {
			return err
		}
	}
	return nil
}

// clone copies so many of the original orders under uids that a hash makes of
// theirs, so that they fall anywhere between the others, as new orders do. Their
// dates go on where the originals' end.
func clone(ctx context.Context, conn *pgx.Conn, number, orders int) error {
	for _, p := range parts {
		from := slices.Clone(p.columns)
		from[0] = fmt.Sprintf("left(md5(order_uid || '%d'), 19) || 'test'", number)
		if i := slices.Index(from, "date_created"); i >= 0 {
			from[i] = fmt.Sprintf("date_created + %d * interval '30 days'", number)
		}
		statement := fmt.Sprintf(`INSERT INTO %[1]s (%[2]s) SELECT %[3]s FROM original_%[1]s
			WHERE order_uid IN (SELECT order_uid FROM original_orders ORDER BY order_uid LIMIT %[4]d)`,
			p.table, strings.Join(p.columns, ", "), strings.Join(from, ", "), orders)
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
