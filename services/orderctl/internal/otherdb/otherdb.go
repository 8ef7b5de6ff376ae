// Package otherdb reads the orders of a database that another order service filled:
// four tables with names, keys and types of their own. A [Mapping] says where each
// field comes from. Most of it is guessed from the tables, and the rest is the
// operator's.
//
//	db, err := otherdb.Open(ctx, config, schema) // one snapshot
//	plan, err := db.Plan(ctx, mapping)           // what is guessed, and what is missing
//	reader, err := db.Read(ctx, plan, otherdb.Range{})
//	order, err := reader.Next(ctx)               // io.EOF after the last
package otherdb

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// DB is a read-only transaction that sees one moment. It is for one goroutine.
type DB struct {
	conn   *pgx.Conn
	schema string
	tables []*table
	links  []link
}

// table is a table of the other database. Names are quoted where SQL needs that.
type table struct {
	name    string
	plain   bool // neither a view nor foreign: rows have a place
	columns []column
}

type column struct {
	name string
	key  bool // the primary key's only column
	kind string
}

// link is a foreign key of one column.
type link struct{ table, column, toTable, toColumn string }

const (
	beginRead = `BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY`
	// A slow consumer must not end the transaction, and orders are sorted by the server.
	settings = `SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true),
		set_config('work_mem', '32MB', true), set_config('cursor_tuple_fraction', '1', true), set_config('DateStyle', 'ISO', true),
		set_config('client_encoding', 'UTF8', true), set_config('standard_conforming_strings', 'on', true), set_config('extra_float_digits', '1', true),
		set_config('search_path', CASE WHEN $1 = '' THEN current_setting('search_path') ELSE quote_ident($1) END, true)`
	columnsQuery = `SELECT quote_ident(c.relname), c.relkind IN ('r', 'p'), quote_ident(a.attname), format_type(a.atttypid, NULL),
			EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND k.conkey = ARRAY[a.attnum])
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname, a.attnum`
	linksQuery = `SELECT quote_ident(f.relname), quote_ident(fa.attname), quote_ident(t.relname), quote_ident(ta.attname)
		FROM pg_constraint k JOIN pg_class f ON f.oid = k.conrelid JOIN pg_class t ON t.oid = k.confrelid
		JOIN pg_attribute fa ON fa.attrelid = f.oid AND fa.attnum = k.conkey[1] JOIN pg_attribute ta ON ta.attrelid = t.oid AND ta.attnum = k.confkey[1]
		WHERE k.contype = 'f' AND cardinality(k.conkey) = 1 AND k.connamespace = current_schema()::regnamespace ORDER BY 1, 2`
)

// Open connects and takes the snapshot. Without a schema, it is the first one of
// search_path. Close the DB after use.
func Open(ctx context.Context, config *pgx.ConnConfig, schema string) (*DB, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	db := &DB{conn: conn}
	if err := db.begin(ctx, schema); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func (db *DB) begin(ctx context.Context, schema string) error {
	if _, err := db.conn.Exec(ctx, beginRead); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if _, err := db.conn.Exec(ctx, settings, schema); err != nil {
		return fmt.Errorf("settings of the session: %w", err)
	}
	var current *string
	if err := db.conn.QueryRow(ctx, `SELECT current_schema()`).Scan(&current); err != nil {
		return fmt.Errorf("which schema this is: %w", err)
	}
	if current == nil {
		return fmt.Errorf("there is no schema %q, or the user has no right to use it", schema)
	}
	db.schema = *current
	var name string
	var plain bool
	var c column
	err := db.each(ctx, columnsQuery, []any{&name, &plain, &c.name, &c.kind, &c.key}, func() {
		if len(db.tables) == 0 || db.tables[len(db.tables)-1].name != name {
			db.tables = append(db.tables, &table{name: name, plain: plain})
		}
		last := db.tables[len(db.tables)-1]
		last.columns = append(last.columns, c)
	})
	if err != nil {
		return err
	}
	var l link
	return db.each(ctx, linksQuery, []any{&l.table, &l.column, &l.toTable, &l.toColumn}, func() { db.links = append(db.links, l) })
}

// each calls use with each row of a catalog's query in values.
func (db *DB) each(ctx context.Context, query string, values []any, use func()) error {
	rows, err := db.conn.Query(ctx, query)
	if err == nil {
		_, err = pgx.ForEachRow(rows, values, func() error { use(); return nil })
	}
	if err != nil {
		return fmt.Errorf("list the tables and their foreign keys: %w", err)
	}
	return nil
}

// Schema is the name of the schema that is read.
func (db *DB) Schema() string { return db.schema }

// Close ends the transaction and the connection.
func (db *DB) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = db.conn.Close(ctx) // nothing was written
}
