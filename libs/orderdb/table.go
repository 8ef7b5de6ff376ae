package orderdb

import (
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/schema"

	"github.com/orderhub/orderhub/libs/model"
)

// mapper holds bun's schemas. It has no database: each query names its connection.
var mapper = bun.NewDB(nil, pgdialect.New())

// The tables. Their columns and codecs are derived from bun's schema of the row
// models once, when the program starts.
var (
	Orders     = rowsOf[Order, model.Order]()
	Deliveries = rowsOf[Delivery, model.Delivery]()
	Payments   = rowsOf[Payment, model.Payment]()
	Items      = rowsOf[Item, model.Item]()

	// Tables are all four, in the order of their foreign keys.
	Tables = [...]*Table{Orders.Table, Deliveries.Table, Payments.Table, Items.Table}
)

// Table is one of the four tables. It is read-only.
type Table struct {
	Name string
	// Columns are the key and the fields of the order: order_uid is the first and, in
	// items, position the second.
	Columns []string
	// Stored are the columns that the worker writes: Columns, and behind them what
	// only the database keeps.
	Stored []string
	Key    []string // the columns of the primary key
	Schema *schema.Table

	columns []column // as in Stored
	unknown func(stored []byte) model.Unknown
	later   []string // see since
	nulls   string   // a row of NULLs with the names and types of columns that may be absent
}

// since is the tag of a column that the last release's schema lacks, with the number of
// the migration that adds it, as in
//
//	Unknown []byte `bun:"unknown,type:jsonb" since:"10"`
//
// Programs also work on the last release's schema, until `orderctl migrate` has run. There,
// [Table.Select] reads such a column as NULL, and [CopyIn.LeaveOut] has COPY leave it out.
// Columns without the tag must be there. A statement that names columns by itself does as
// Table.Select does. What needs a later table asks [Has] first. The release after the one that brings a
// migration removes the tags.
const since = "since"

// Rows encodes and decodes the rows of a table, which have the Go type R and store
// an order's part of type P. It is safe for concurrent use.
//
// A row is in the binary form of COPY: the number of fields, then each field's
// length and bytes (see "Binary Format" under COPY in the PostgreSQL manual).
// Queries are answered in the same form if they ask for binary results.
type Rows[R, P any] struct{ *Table }

// AppendRow appends a row. The fields that part lacks are taken from row: the key, and
// what only the database keeps.
func (t Rows[R, P]) AppendRow(dst []byte, row *R, part *P) []byte {
	return t.appendRow(dst, unsafe.Pointer(row), unsafe.Pointer(part))
}

// Decode reads the fields of part off a row that has the table's Columns. The texts
// of part lie in raw, so they are valid as long as raw is not changed.
func (t Rows[R, P]) Decode(raw RawRow, part *P) { t.decode(raw, unsafe.Pointer(part)) }

type column struct {
	kind     kind
	nullable bool    // the field is a pointer
	inPart   bool    // the field belongs to the part, not to the row alone
	offset   uintptr // within the part, or else within the row
}

// kind is how a column's values are represented in Go and in PostgreSQL.
type kind uint8

const (
	textKind kind = iota
	bigintKind
	integerKind
	timestampKind
	byteaKind
	jsonbKind
)

var kinds = map[reflect.Type]kind{
	reflect.TypeFor[string]():    textKind,
	reflect.TypeFor[int64]():     bigintKind,
	reflect.TypeFor[int32]():     integerKind,
	reflect.TypeFor[time.Time](): timestampKind,
	reflect.TypeFor[[]byte]():    byteaKind,

	reflect.TypeFor[model.Unknown](): jsonbKind,
}

// rowsOf derives a table from its row model. It panics where the model has a field
// that can't be stored, or whose column would not have the JSON field's name.
func rowsOf[R, P any]() Rows[R, P] {
	s := mapper.Table(reflect.TypeFor[R]())
	t := &Table{Name: s.Name, Schema: s, unknown: model.StoredUnknown[P]}
	partType := reflect.TypeFor[P]()
	part, _ := s.Type.FieldByName(partType.Name())
	var kept []column
	var keptNames []string
	for _, f := range s.Fields {
		of, nullable := f.StructField.Type, f.StructField.Type.Kind() == reflect.Pointer
		if nullable {
			of = of.Elem()
		}
		k, ok := kinds[of]
		if !ok {
			panic(fmt.Sprintf("orderdb: %s.%s: no column type for %s", s.TypeName, f.GoName, f.StructField.Type))
		}
		c := column{kind: k, nullable: nullable, inPart: len(f.Index) > 1, offset: f.StructField.Offset}
		if hidden, ok := partType.FieldByName(f.GoName); ok && !c.inPart {
			c = column{kind: k, inPart: true, offset: hidden.Offset} // the order's own order_uid, or unknown fields
		}
		if json := f.StructField.Tag.Get("json"); len(f.Index) > 1 && (json != f.Name || f.Index[0] != part.Index[0]) {
			panic(fmt.Sprintf("orderdb: %s.%s: the column %s needs the JSON field's name, %s", s.TypeName, f.GoName, f.Name, json))
		}
		if f.IsPK {
			t.Key = append(t.Key, f.Name)
		}
		if f.StructField.Tag.Get(since) != "" {
			t.later = append(t.later, f.Name)
		}
		if c.inPart || f.IsPK {
			t.columns, t.Columns = append(t.columns, c), append(t.Columns, f.Name)
		} else {
			kept, keptNames = append(kept, c), append(keptNames, f.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.FieldMap)) { // also those that are only read
		if f := s.FieldMap[name]; f.StructField.Tag.Get(since) != "" {
			t.nulls += ", NULL::" + f.CreateTableSQLType + " AS " + f.Name
		}
	}
	t.columns = append(t.columns, kept...)
	t.Stored = slices.Concat(t.Columns, keptNames)
	return Rows[R, P]{t}
}

// Select reads the Stored columns of the rows that rest names (WHERE, ORDER BY and so on),
// and further ones, also where later columns are not there yet: a column's name refers to
// the innermost FROM that has it, so it is the table's, or else the NULL beside it.
func (t *Table) Select(rest string, further ...string) string {
	return t.selectFrom(t.Stored, rest, further)
}

// SelectOrder is Select of the Columns alone, as Rows.Decode takes them.
func (t *Table) SelectOrder(rest string, further ...string) string {
	return t.selectFrom(t.Columns, rest, further)
}

func (t *Table) selectFrom(columns []string, rest string, further []string) string {
	query := "SELECT " + strings.Join(slices.Concat(columns, further), ", ") + " FROM " + t.Name + rest
	if t.nulls == "" {
		return query
	}
	return "SELECT present.* FROM (SELECT " + t.nulls[2:] + ") AS absent CROSS JOIN LATERAL (" + query + ") AS present"
}

// without is the table without some columns, to be written.
func (t Rows[R, P]) without(absent []string) Rows[R, P] {
	left := *t.Table
	left.Stored, left.columns = nil, nil
	for i, name := range t.Stored {
		if !slices.Contains(absent, t.Name+"."+name) {
			left.Stored, left.columns = append(left.Stored, name), append(left.columns, t.columns[i])
		}
	}
	return Rows[R, P]{&left}
}

// postgresEpoch is the time that PostgreSQL counts microseconds from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func (t *Table) appendRow(dst []byte, row, part unsafe.Pointer) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.columns)))
	for i := range t.columns {
		c := &t.columns[i]
		at := unsafe.Add(row, c.offset)
		if c.inPart {
			at = unsafe.Add(part, c.offset)
		}
		if c.nullable {
			if at = *(*unsafe.Pointer)(at); at == nil {
				dst = append(dst, 0xff, 0xff, 0xff, 0xff) // NULL
				continue
			}
		}
		switch c.kind {
		case textKind:
			value := *(*string)(at)
			dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(value))), value...)
		case bigintKind:
			dst = appendBigint(dst, *(*int64)(at))
		case integerKind:
			dst = binary.BigEndian.AppendUint32(dst, 4)
			dst = binary.BigEndian.AppendUint32(dst, uint32(*(*int32)(at)))
		case timestampKind:
			dst = appendBigint(dst, (*time.Time)(at).UnixMicro()-postgresEpoch)
		case byteaKind:
			value := *(*[]byte)(at)
			if value == nil {
				dst = append(dst, 0xff, 0xff, 0xff, 0xff) // NULL
				continue
			}
			dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(value))), value...)
		case jsonbKind:
			value := *(*model.Unknown)(at)
			if value == "" {
				dst = append(dst, 0xff, 0xff, 0xff, 0xff) // NULL
				continue
			}
			dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(value))+1), jsonbVersion)
			dst = append(dst, value...)
		}
	}
	return dst
}

// jsonbVersion is the first byte of a jsonb in binary form; its text follows.
const jsonbVersion = 1

func appendBigint(dst []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(dst, 8), uint64(n))
}

func (t *Table) decode(raw RawRow, part unsafe.Pointer) {
	fields := raw.Fields()
	for i := range t.columns[:len(t.Columns)] {
		value := fields.Next()
		c := &t.columns[i]
		if !c.inPart {
			continue // a part of the key
		}
		at := unsafe.Add(part, c.offset)
		switch c.kind {
		case textKind:
			*(*string)(at) = Text(value)
		case bigintKind:
			*(*int64)(at) = Integer(value)
		case integerKind:
			*(*int32)(at) = int32(Integer(value))
		case timestampKind:
			*(*time.Time)(at) = time.UnixMicro(Integer(value) + postgresEpoch).UTC()
		case byteaKind:
			*(*[]byte)(at) = value
		case jsonbKind:
			*(*model.Unknown)(at) = ""
			if len(value) > 1 {
				*(*model.Unknown)(at) = t.unknown(value[1:])
			}
		}
	}
}

// RawRow is a row in COPY's binary form, without the length that COPY's messages have.
type RawRow []byte

// AppendRaw appends values that PostgreSQL sent as one row.
func AppendRaw(dst RawRow, values [][]byte) RawRow {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(values)))
	for _, value := range values {
		if value == nil {
			dst = append(dst, 0xff, 0xff, 0xff, 0xff) // NULL
			continue
		}
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(value))), value...)
	}
	return dst
}

// Fields starts at the row's first field.
func (r RawRow) Fields() Fields { return Fields(r[2:]) }

// Fields are those fields of a row that have not been read yet.
type Fields []byte

// Next returns the next field's bytes, which are the row's own; nil for NULL. There
// must be another field.
func (f *Fields) Next() []byte {
	length := int32(binary.BigEndian.Uint32(*f))
	*f = (*f)[4:]
	if length < 0 {
		return nil
	}
	value := (*f)[:length]
	*f = (*f)[length:]
	return value
}

// Text is the value of a text field. It shares the row's memory.
func Text(value []byte) string { return unsafe.String(unsafe.SliceData(value), len(value)) }

// Integer is the value of a bigint or integer field; 0 for NULL.
func Integer(value []byte) int64 {
	switch len(value) {
	case 8:
		return int64(binary.BigEndian.Uint64(value))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(value)))
	default:
		return 0
	}
}
