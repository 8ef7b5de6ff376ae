package otherdb

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// Rows are fetched by as many as take about fetchBytes, beginning with a few.
	firstFetch = 50
	maxFetch   = 5000
	fetchBytes = 2 << 20
	// maxOrderBytes is more than any topic takes: items beyond it are left out, and
	// the record is refused for its size.
	maxOrderBytes = 32 << 20
)

// Range of orders. The zero value means all.
type Range struct {
	After string   // orders whose uid is greater, by bytes
	Only  []string // these uids
}

// where is the condition on a row's key.
func (r Range) where() string {
	switch {
	case r.Only != nil:
		quoted := make([]string, len(r.Only))
		for i, uid := range r.Only {
			quoted[i] = literal(uid)
		}
		return "k = ANY(ARRAY[" + strings.Join(quoted, ", ") + "]::text[])"
	case r.After != "":
		return `k COLLATE "C" > ` + literal(r.After)
	}
	return "k IS NOT NULL"
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Order is an order as JSON, faithful to its rows: what they lack, and what is wrong
// with them, shows when it is validated.
type Order struct {
	UID  string // as it is; "" for none
	JSON []byte
}

// Reader gives the orders sorted by the bytes of their uids. It is for one goroutine.
type Reader struct {
	db      *DB
	cursors [4]*cursor
	uid     string // of the parts
	parts   [4][]row
	// Orphans are rows of parts whose order does not exist, by the table's name.
	Orphans map[string]int64
}

// row is a row's key, and its fields as members of a JSON object.
type row struct {
	key     string
	members []byte
}

type cursor struct {
	name   string
	fields []field
	rows   []row
	next   int
	size   int
	done   bool
}

// Read begins to read. A DB has one Reader.
func (db *DB) Read(ctx context.Context, plan *Plan, which Range) (*Reader, error) {
	r := &Reader{db: db, Orphans: map[string]int64{}}
	for i, q := range plan.selects {
		c := &cursor{name: "part" + kinds[i].alias, fields: q.fields, size: firstFetch}
		key := "(" + q.uid + ")::text"
		if i == 0 {
			key = "coalesce(" + key + ", '')" // an order without a uid is one that fails
		}
		sql := "DECLARE " + c.name + " NO SCROLL CURSOR FOR SELECT * FROM (SELECT " + key + " AS k"
		for n, expression := range q.expressions {
			sql += fmt.Sprintf(", %s AS f%d", expression, n)
		}
		order := ` ORDER BY k COLLATE "C"`
		if q.sort != "" {
			sql, order = sql+", ("+q.sort+") AS s", order+", s"
		}
		sql += " FROM " + q.from + ") AS rows WHERE " + which.where() + order
		if _, err := db.conn.Exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("read %s: %w", kinds[i].name, err)
		}
		r.cursors[i] = c
	}
	return r, nil
}

// Count is the number of orders, whatever the range.
func (db *DB) Count(ctx context.Context, plan *Plan) (n int64, err error) {
	err = db.conn.QueryRow(ctx, `SELECT count(*) FROM `+plan.selects[0].from).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the orders: %w", err)
	}
	return n, nil
}

// Next returns the next order, or io.EOF.
func (r *Reader) Next(ctx context.Context) (Order, error) {
	order, err := r.peek(ctx, 0)
	if err != nil {
		return Order{}, err
	}
	if order == nil {
		for i := 1; i < len(r.cursors); i++ {
			if err := r.advance(ctx, i, nil); err != nil {
				return Order{}, err
			}
		}
		return Order{}, io.EOF
	}
	r.cursors[0].next++
	if r.uid != order.key || r.parts[1] == nil && r.parts[2] == nil && r.parts[3] == nil {
		r.uid = order.key
		for i := 1; i < len(r.cursors); i++ {
			if err := r.advance(ctx, i, &order.key); err != nil {
				return Order{}, err
			}
		}
	}
	b := append([]byte(`{"order_uid":`), quote(nil, order.key)...)
	b = append(b, order.members...)
	b = appendOne(append(b, `,"delivery":`...), r.parts[1])
	b = appendOne(append(b, `,"payment":`...), r.parts[2])
	b = appendList(append(b, `,"items":`...), r.parts[3])
	return Order{UID: order.key, JSON: append(b, '}')}, nil
}

// appendOne appends a part of which an order has one. Several rows are a list, which
// fails, since nobody knows which of them holds.
func appendOne(b []byte, rows []row) []byte {
	switch len(rows) {
	case 0:
		return append(b, "null"...)
	case 1:
		return appendObject(b, rows[0])
	}
	return appendList(b, rows)
}

func appendList(b []byte, rows []row) []byte {
	b = append(b, '[')
	for n, row := range rows {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendObject(b, row)
	}
	return append(b, ']')
}

func appendObject(b []byte, r row) []byte {
	return append(append(append(b, '{'), bytes.TrimPrefix(r.members, []byte{','})...), '}')
}

// advance gathers a part's rows of an order, and counts those before it, which have
// none. After the last order, without a uid, it counts the rest.
func (r *Reader) advance(ctx context.Context, i int, uid *string) error {
	r.parts[i] = r.parts[i][:0]
	size := 0
	for {
		next, err := r.peek(ctx, i)
		switch {
		case err != nil:
			return err
		case next == nil || uid != nil && next.key > *uid:
			return nil
		case uid == nil || next.key < *uid:
			r.Orphans[kinds[i].name]++
		case size <= maxOrderBytes:
			r.parts[i] = append(r.parts[i], *next)
			size += len(next.members)
		}
		r.cursors[i].next++
	}
}

// peek is a part's next row; nil after the last.
func (r *Reader) peek(ctx context.Context, i int) (*row, error) {
	c := r.cursors[i]
	if c.next == len(c.rows) && !c.done {
		if err := r.fetch(ctx, c); err != nil {
			return nil, fmt.Errorf("read %s: %w", kinds[i].name, err)
		}
	}
	if c.next == len(c.rows) {
		return nil, nil //nolint:nilnil // there is none
	}
	return &c.rows[c.next], nil
}

// fetch reads a cursor's next rows. Earlier rows stay valid.
func (r *Reader) fetch(ctx context.Context, c *cursor) error {
	result := r.db.conn.PgConn().ExecParams(ctx, fmt.Sprintf("FETCH %d FROM %s", c.size, c.name), nil, nil, nil, nil)
	rows := make([]row, 0, c.size)
	total := 0
	for result.NextRow() {
		values := result.Values()
		one := row{key: string(values[0])}
		for n, f := range c.fields {
			one.members = appendMember(one.members, f, values[n+1])
		}
		total += len(one.key) + len(one.members)
		rows = append(rows, one)
	}
	if _, err := result.Close(); err != nil {
		return err
	}
	c.rows, c.next, c.done = rows, 0, len(rows) < c.size
	if total > 0 {
		c.size = max(1, min(len(rows)*fetchBytes/total, 4*c.size, maxFetch))
	}
	return nil
}

var integer = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// appendMember appends a field. A text that is null is empty. A number that is none
// stays what it is, so that it fails.
func appendMember(b []byte, f field, value []byte) []byte {
	b = append(append(append(b, `,"`...), f.name...), `":`...)
	switch {
	case value == nil && f.form == text:
		return append(b, `""`...)
	case value == nil:
		return append(b, "null"...)
	case f.form == number && integer.Match(value):
		return append(b, value...)
	}
	return quote(b, string(value))
}

// quote appends a text. Bytes that are not UTF-8 cannot come from PostgreSQL.
func quote(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
