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
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
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

// Plan is a mapping with what became known of it.
type Plan struct {
	Mapping Mapping `json:"mapping"`
	// Notes say how values are converted, and what is not copied.
	Notes []string `json:"notes,omitempty"`
	// Problems keep the plan from being carried out.
	Problems []string `json:"problems,omitempty"`

	selects [4]query
}

type query struct {
	from, uid, sort string
	fields          []field
	expressions     []string // of the fields, as text
}

// Plan guesses a mapping, puts what is given over it, and checks it with the server.
func (db *DB) Plan(ctx context.Context, given Mapping) (*Plan, error) {
	p := &Plan{Mapping: given.over(db.guess())}
	for i, part := range p.Mapping.parts() {
		k := kinds[i]
		q := &p.selects[i]
		switch {
		case part.From == "":
			p.problem("no table looks like %s: say %s.from and %s.columns", k.name, k.name, k.name)
			continue
		case part.Columns[orderUID] == "":
			p.problem("it is not clear how rows of %s belong to orders: say %s.from with a JOIN, and %s.columns.order_uid", part.From, k.name, k.name)
			continue
		}
		q.from, q.uid, q.sort = part.From, part.Columns[orderUID], part.Sort
		raw := "SELECT (" + q.uid + ")"
		for _, f := range k.fields {
			expression := part.Columns[f.name]
			switch {
			case f.name == orderUID:
			case expression != "":
				q.fields = append(q.fields, f)
				raw += ", (" + expression + ")"
			case f.optional:
				p.Notes = append(p.Notes, k.name+"."+f.name+" has no column: empty")
			default:
				p.problem("%s.%s has no column: say an expression for it, such as '', 0 or another column", k.name, f.name)
			}
		}
		if k.name == "items" && (q.sort == "" || strings.HasSuffix(q.sort, ".ctid")) {
			p.Notes = append(p.Notes, "items: no column tells their order: as they lie in the table")
		}
		if q.sort != "" {
			raw += ", (" + q.sort + ")"
		}
		if err := p.describe(ctx, db, k, part, q, raw+" FROM "+q.from); err != nil {
			return nil, err
		}
	}
	p.leftOut(db)
	return p, nil
}

func (p *Plan) problem(format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
}

// describe asks the server for the types of a part's expressions.
func (p *Plan) describe(ctx context.Context, db *DB, k kind, part *Part, q *query, raw string) error {
	if _, err := db.conn.Exec(ctx, `SAVEPOINT plan`); err != nil {
		return err
	}
	described, err := db.conn.Prepare(ctx, "", raw)
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		p.problem("%s: PostgreSQL refuses the mapping: %s", k.name, refused.Message)
		_, err = db.conn.Exec(ctx, `ROLLBACK TO SAVEPOINT plan`)
		return err
	}
	if err != nil {
		return fmt.Errorf("look at the types of %s: %w", k.name, err)
	}
	for i, f := range q.fields {
		d := described.Fields[i+1]
		expression, note, problem := convert(f, part.Columns[f.name], d.DataTypeOID, d.TypeModifier)
		if note != "" {
			p.Notes = append(p.Notes, k.name+"."+f.name+" "+note)
		}
		if problem != "" {
			p.problem("%s.%s %s", k.name, f.name, problem)
		}
		q.expressions = append(q.expressions, expression)
	}
	return nil
}

// convert turns an expression of a type into the text of a field's value: that of a
// number for numbers, RFC 3339 for times.
func convert(f field, expression string, oid uint32, modifier int32) (sql, note, problem string) {
	e := "(" + expression + ")"
	switch f.form {
	case number:
		switch oid {
		case pgtype.TimestampOID, pgtype.DateOID:
			return "floor(extract(epoch FROM " + e + "))::text", "is a time without zone: read as UTC, in seconds", ""
		case pgtype.TimestamptzOID:
			return "floor(extract(epoch FROM " + e + "))::text", "is a time: copied in seconds", ""
		case pgtype.NumericOID:
			if modifier >= 4 && (modifier-4)&0x7ff > 0 {
				return e + "::text", "", "is a number with decimals, and Orderhub wants minor units: say an expression, such as " + expression + " * 100"
			}
		case 790: // money
			return e + "::text", "", "is of type money, and Orderhub wants minor units: say an expression, such as (" + expression + "::numeric * 100)::bigint"
		case pgtype.Float4OID, pgtype.Float8OID:
			return e + "::text", "is a floating-point number: orders whose value has decimals will fail", ""
		case pgtype.BoolOID:
			return e + "::text", "", "is true or false, not a number: say an expression"
		}
	case timestamp:
		utc := func(e string) string { return "replace((" + e + ")::text, ' ', 'T') || 'Z'" }
		switch oid {
		case pgtype.TimestamptzOID:
			return utc(e + " AT TIME ZONE 'UTC'"), "", ""
		case pgtype.TimestampOID, pgtype.DateOID:
			return utc(e + "::timestamp"), "has no zone: read as UTC", ""
		case pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID, pgtype.Float8OID:
			// What is no year from 1 to 9999 would end the import: it stays what it is, and fails alone.
			return "CASE WHEN " + e + " BETWEEN -62135596800 AND 253402300799 THEN " + utc("to_timestamp("+e+") AT TIME ZONE 'UTC'") + " ELSE " + e + "::text END",
				"is a number: read as seconds since 1970", ""
		}
	case text:
	}
	return e + "::text", "", ""
}

// leftOut notes the columns of the parts' own tables that nothing names.
func (p *Plan) leftOut(db *DB) {
	used := ""
	for _, part := range p.Mapping.parts() {
		used += " " + part.From + " " + part.Sort + " " + strings.Join(slices.Collect(maps.Values(part.Columns)), " ")
	}
	words := strings.FieldsFunc(used, func(r rune) bool { return strings.ContainsRune(" ()=,:+-*/", r) })
	for i, part := range p.Mapping.parts() {
		k, t := kinds[i], db.tableOf(kinds[i])
		if t == nil || !strings.Contains(part.From, t.name+" "+k.alias) {
			continue
		}
		var names []string
		for _, c := range t.columns {
			if !c.key && c.name != orderUID && !slices.Contains(words, k.alias+"."+c.name) {
				names = append(names, c.name)
			}
		}
		if len(names) > 0 {
			p.Notes = append(p.Notes, k.name+": not copied: "+strings.Join(names, ", "))
		}
	}
}
