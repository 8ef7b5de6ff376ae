package orderdb

import (
	"fmt"
	"strings"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/model"
)

// Upsert collects orders whose rows replace those that are stored. The zero value is
// empty. It is not safe for concurrent use.
type Upsert struct {
	tables [len(Tables)][]any // in the order of Tables: an array for each column
	uids   []string
	items  []int32 // how many each order has
}

// Len is how many orders were added.
func (u *Upsert) Len() int { return len(u.uids) }

// Add adds an order as [CopyIn.Add] does.
func (u *Upsert) Add(o *model.Order, hash []byte, stamp *model.Stamp) {
	order := Order{ContentHash: hash}
	order.Stamp(stamp)
	gather(&u.tables[0], Orders, &order, o)
	gather(&u.tables[1], Deliveries, &Delivery{OrderUID: o.OrderUID}, o.Delivery)
	gather(&u.tables[2], Payments, &Payment{OrderUID: o.OrderUID}, o.Payment)
	for i := range o.Items {
		gather(&u.tables[3], Items, &Item{OrderUID: o.OrderUID, Position: int32(i)}, &o.Items[i])
	}
	u.uids, u.items = append(u.uids, o.OrderUID), append(u.items, int32(len(o.Items)))
}

// Queue adds the statements that change the tables, and leave rows that are equal as they
// are. In the order of the tables, so that an order's row is locked before its parts.
func (u *Upsert) Queue(batch *pgx.Batch) {
	for i, t := range Tables {
		batch.Queue(t.upsert(), u.tables[i]...)
	}
	// Where rows were deleted by hand, an order with few items may have one at a high position.
	batch.Queue(`DELETE FROM items USING unnest($1::text[], $2::integer[]) AS new (uid, items)
		WHERE items.order_uid = new.uid AND items.position >= new.items`, u.uids, u.items)
}

// sqlTypes are those of the kinds.
var sqlTypes = map[kind]string{textKind: "text", bigintKind: "bigint", integerKind: "integer", timestampKind: "timestamptz", byteaKind: "bytea", jsonbKind: "jsonb"}

// upsert is a statement whose arguments are an array for each of the Stored columns.
func (t *Table) upsert() string {
	var arrays, sets, before, after []string
	for i, name := range t.Stored {
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, sqlTypes[t.columns[i].kind]))
		if i >= len(t.Key) {
			sets, before, after = append(sets, name+" = excluded."+name), append(before, t.Name+"."+name), append(after, "excluded."+name)
		}
	}
	if t == Orders.Table { // a part that changes counts as a change of the order
		sets = append(sets, "change_xid = pg_current_xact_id()")
	}
	return "INSERT INTO " + t.Name + " (" + strings.Join(t.Stored, ", ") + ") SELECT * FROM unnest(" + strings.Join(arrays, ", ") + ")" +
		" ON CONFLICT (" + strings.Join(t.Key, ", ") + ") DO UPDATE SET " + strings.Join(sets, ", ") +
		" WHERE (" + strings.Join(before, ", ") + ") IS DISTINCT FROM (" + strings.Join(after, ", ") + ")"
}

// gather appends a row to the arrays of its columns.
func gather[R, P any](arrays *[]any, t Rows[R, P], row *R, part *P) {
	if *arrays == nil {
		*arrays = make([]any, len(t.columns))
	}
	for i := range t.columns {
		c := &t.columns[i]
		at := unsafe.Add(unsafe.Pointer(row), c.offset)
		if c.inPart {
			at = unsafe.Add(unsafe.Pointer(part), c.offset)
		}
		array := &(*arrays)[i]
		switch c.kind {
		case textKind:
			push[string](array, c.nullable, at)
		case bigintKind:
			push[int64](array, c.nullable, at)
		case integerKind:
			push[int32](array, c.nullable, at)
		case timestampKind:
			push[time.Time](array, c.nullable, at)
		case byteaKind:
			push[[]byte](array, c.nullable, at)
		case jsonbKind:
			var text *string
			if unknown := string(*(*model.Unknown)(at)); unknown != "" {
				text = &unknown
			}
			push[string](array, true, unsafe.Pointer(&text))
		}
	}
}

func push[T any](array *any, nullable bool, at unsafe.Pointer) {
	if nullable {
		values, _ := (*array).([]*T)
		values = append(values, *(**T)(at))
		*array = values
		return
	}
	values, _ := (*array).([]T)
	values = append(values, *(*T)(at))
	*array = values
}
