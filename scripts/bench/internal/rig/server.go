package rig

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // registers pgx with database/sql

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// Settings of the server. Everything that keeps data safe is on. Checkpoints are
// made between runs and autovacuum is off, so that they do not affect only some of
// the runs. WAL segments are kept for the next run to use.
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

// QuarterOfMemory is the shared_buffers recommended for a server that has the
// machine to itself.
func QuarterOfMemory() string {
	var info syscall.Sysinfo_t
	must.Succeed(syscall.Sysinfo(&info))
	return fmt.Sprintf("%dMB", max(128, info.Totalram*uint64(info.Unit)/4>>20))
}

// Server is a private PostgreSQL with a template, of which the database of each run
// is a fresh copy: all runs find the same state.
type Server struct {
	*postgres.Server
	runs int
	fill *Fill // of the template; nil: it has no orders
}

const templateName = "bench_template"

// What lets the workers skip the look-ups for foreign keys, and does not.
const (
	GrantReplicaRole  = "GRANT SET ON PARAMETER session_replication_role TO orders"
	RevokeReplicaRole = "REVOKE SET ON PARAMETER session_replication_role FROM orders"
)

// startServer starts a server whose template has the schema and no orders. extra
// are settings that win over the benchmarks' own.
func startServer(ctx context.Context, extra map[string]string) *Server {
	all := maps.Clone(settings)
	maps.Copy(all, extra)
	s := &Server{Server: must.Get(postgres.Start(ctx, postgres.Options{Settings: all}))}
	must.Succeed(s.Admin(ctx, GrantReplicaRole))
	must.Succeed(s.Admin(ctx, "CREATE DATABASE "+templateName+" OWNER orders"))
	db := must.Get(sql.Open("pgx", postgres.AtDatabase(s.URL(), templateName)))
	defer func() { _ = db.Close() }()
	must.Get(migrations.Up(ctx, db))
	return s
}

// DropListIndexes drops the indexes of lists in the template.
func (s *Server) DropListIndexes(ctx context.Context) {
	db := must.Get(sql.Open("pgx", postgres.AtDatabase(s.URL(), templateName)))
	defer func() { _ = db.Close() }()
	must.Succeed(migrations.DropListIndexes(ctx, db, func(name, what string) error {
		Progress("%s: %s", name, what)
		return nil
	}))
}

// Written is how many bytes of WAL the server has written, and how many
// transactions have written.
func (s *Server) Written(ctx context.Context) (bytes, transactions int64) {
	written := Query[int64](ctx, s.AdminURL(), `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint
		UNION ALL SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`)
	return written[0], written[1]
}

// Fresh makes a database for one run from the template, flushes everything, and
// returns the database's address. drop removes it; otherwise it ends with the
// server.
func (s *Server) Fresh(ctx context.Context) (database string, drop func()) {
	s.runs++
	name := "bench_" + strconv.Itoa(s.runs)
	must.Succeed(postgres.Execute(ctx, s.AdminURL(), "CREATE DATABASE "+name+" TEMPLATE "+templateName+" OWNER orders STRATEGY FILE_COPY", "CHECKPOINT"))
	return postgres.AtDatabase(s.URL(), name), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_ = s.Admin(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") // what stays ends with the server
	}
}

// Superuser is the superuser's address of a database that Fresh made.
func (s *Server) Superuser(database string) string {
	return postgres.AtDatabase(s.AdminURL(), database[strings.LastIndexByte(database, '/')+1:strings.IndexByte(database, '?')])
}

// Preload stores the orders in the template, and copies of them under other uids
// until it holds count orders. It may be called again, with the same orders and a
// larger count.
func (s *Server) Preload(ctx context.Context, orders *Orders, count int) {
	if s.fill == nil {
		s.fill = NewFill(orders, postgres.AtDatabase(s.AdminURL(), templateName))
	}
	s.fill.To(ctx, count)
}

// Query returns the only column of a query's rows, on a connection of its own.
func Query[T any](ctx context.Context, database string, query string, arguments ...any) []T {
	conn := must.Get(pgx.Connect(ctx, database))
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return must.Get(pgx.CollectRows(must.Get(conn.Query(ctx, query, arguments...)), pgx.RowTo[T]))
}

const fillConns = 2

// Fill fills a database quickly with orders and copies of them under other uids.
// Each step ends with VACUUM and ANALYZE.
type Fill struct {
	orders   *Orders
	database string
	have     int
	copies   int // made so far; the last one may be partial
}

// NewFill prepares to fill a database that has the schema and no orders. The
// address must be the superuser's.
func NewFill(orders *Orders, database string) *Fill { return &Fill{orders: orders, database: database} }

// To fills the database up to count orders, which must not be fewer than the
// orders to copy.
func (f *Fill) To(ctx context.Context, count int) {
	if f.have == 0 {
		f.orders.Copy(ctx, f.database, CopyOptions{Conns: fillConns})
		f.have = f.orders.Count
		must.Succeed(postgres.Execute(ctx, f.database, keepOriginals()...))
	}
	var copies [][]string
	for ; f.have < count; f.have = min(f.have+f.orders.Count, count) {
		f.copies++
		copies = append(copies, copyOriginals(f.copies, min(f.orders.Count, count-f.have), f.orders.Count))
	}
	var parts []func(context.Context)
	for n := range fillConns {
		parts = append(parts, func(ctx context.Context) {
			for i := n; i < len(copies); i += fillConns {
				must.Succeed(postgres.Execute(ctx, f.database, copies[i]...))
			}
		})
	}
	must.Together(ctx, parts...)
	must.Succeed(postgres.Execute(ctx, f.database, "VACUUM (ANALYZE)"))
}

func keepOriginals() []string {
	statements := []string{"CREATE SCHEMA originals"}
	for _, t := range orderdb.Tables {
		statements = append(statements, "CREATE TABLE originals."+t.Name+" AS TABLE "+t.Name)
	}
	return statements
}

// copyOriginals copies so many of all originals. The copies' uids are hashes of the
// originals' uids, spread over the whole range as those of new orders are. Their
// dates follow the originals'. Triggers and foreign keys are off: the copies are
// complete by construction.
func copyOriginals(number, orders, all int) []string {
	statements := []string{"SET session_replication_role = replica", "SET " + orderdb.WholeOrdersSetting + " = 'on'"}
	some := ""
	if orders < all {
		some = fmt.Sprintf("WHERE order_uid IN (SELECT order_uid FROM originals.orders ORDER BY order_uid LIMIT %d)", orders)
	}
	for _, t := range orderdb.Tables {
		from := slices.Clone(t.Stored)
		from[0] = fmt.Sprintf("left(md5(order_uid || '%d'), 15) || 'copy'", number)
		if i := slices.Index(from, "date_created"); i >= 0 {
			from[i] = fmt.Sprintf("date_created + %d * interval '30 days'", number)
		}
		statements = append(statements, fmt.Sprintf("INSERT INTO %[1]s (%[2]s) SELECT %[3]s FROM originals.%[1]s %[4]s",
			t.Name, strings.Join(t.Stored, ", "), strings.Join(from, ", "), some))
	}
	return statements
}
