package peers

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// field is a column of the table flat, which has an order and its only delivery and
// payment in one row, and the items as JSON.
type field struct {
	table        *orderdb.Table
	column, flat string // its names there and in flat
	pointer      string // to it in an order's JSON
	number       bool
}

var fields = func() (all []field) {
	for _, part := range []struct {
		table           *orderdb.Table
		prefix, pointer string
	}{
		{orderdb.Orders.Table, "", "/"}, {orderdb.Deliveries.Table, "delivery_", "/delivery/"}, {orderdb.Payments.Table, "payment_", "/payment/"},
	} {
		for _, column := range known(part.table) {
			if column == "order_uid" && part.prefix != "" {
				continue
			}
			number := part.table.Schema.FieldMap[column].IndirectType.Kind() == reflect.Int64
			all = append(all, field{part.table, column, part.prefix + column, part.pointer + column, number})
		}
	}
	return all
}()

// known are the columns of a table that an order's JSON has.
func known(t *orderdb.Table) []string {
	return slices.DeleteFunc(slices.Clone(t.Columns), func(column string) bool { return column == "unknown_fields" })
}

// of lists the columns of a table without order_uid, by their names there and in flat.
func of(t *orderdb.Table) (columns, flat string) {
	for _, f := range fields {
		if f.table == t && f.column != "order_uid" {
			columns, flat = columns+", "+f.column, flat+", "+f.flat
		}
	}
	return columns, flat
}

// selectFlat are the columns of flat out of rows o, d and p of three tables.
var selectFlat = func() string {
	aliases := map[*orderdb.Table]string{orderdb.Orders.Table: "o.", orderdb.Deliveries.Table: "d.", orderdb.Payments.Table: "p."}
	var columns []string
	for _, f := range fields {
		columns = append(columns, aliases[f.table]+f.column+" AS "+f.flat)
	}
	return strings.Join(columns, ", ")
}()

// spread stores rows of flat in the four tables, in one statement. Of an order that is
// there already nothing is stored.
func spread(rows string) string {
	var b strings.Builder
	orders, flat := of(orderdb.Orders.Table)
	fmt.Fprintf(&b, "WITH rows AS (%s), new AS (INSERT INTO orders (order_uid%s) SELECT order_uid%s FROM rows ORDER BY order_uid ON CONFLICT DO NOTHING RETURNING order_uid)",
		rows, orders, flat)
	for i, t := range []*orderdb.Table{orderdb.Deliveries.Table, orderdb.Payments.Table} {
		columns, flat := of(t)
		fmt.Fprintf(&b, ", part%d AS (INSERT INTO %s (order_uid%s) SELECT order_uid%s FROM rows JOIN new USING (order_uid) ORDER BY 1)", i, t.Name, columns, flat)
	}
	columns := known(orderdb.Items.Table)[2:]
	fmt.Fprintf(&b, " INSERT INTO items (order_uid, position, %s) SELECT rows.order_uid, ordinality - 1, i.%s FROM rows JOIN new USING (order_uid), jsonb_populate_recordset(NULL::items, rows.items) WITH ORDINALITY AS i ORDER BY 1, 2",
		strings.Join(columns, ", "), strings.Join(columns, ", i."))
	return b.String()
}

// hashJoins are settings of functions that spread, which make them several times as fast:
// PostgreSQL expects one row, and would compare each with each.
const hashJoins = "SET enable_nestloop = off SET jit = off"

// storeOrders is a function that stores a batch of orders, an array of their JSON.
var storeOrders = "CREATE FUNCTION store_orders(batch jsonb) RETURNS void LANGUAGE sql " + hashJoins + " AS $$" +
	spread("SELECT DISTINCT ON (o.order_uid) "+selectFlat+", j->'items' AS items FROM jsonb_array_elements(batch) WITH ORDINALITY AS e(j, n), "+
		"jsonb_populate_record(NULL::orders, j) AS o, jsonb_populate_record(NULL::deliveries, j->'delivery') AS d, jsonb_populate_record(NULL::payments, j->'payment') AS p "+
		"ORDER BY o.order_uid, n") + "$$"

// flatTable makes the table flat.
var flatTable = []string{
	"CREATE TABLE flat AS SELECT " + selectFlat + ", NULL::jsonb AS items FROM orders AS o, deliveries AS d, payments AS p WITH NO DATA",
	"ALTER TABLE flat ADD PRIMARY KEY (order_uid)",
}

// spreading has the rows that arrive in flat stored in the four tables. flat itself is
// only on their way, and is not logged.
var spreading = []string{
	"ALTER TABLE flat SET UNLOGGED",
	"CREATE FUNCTION spread_flat() RETURNS trigger LANGUAGE plpgsql " + hashJoins + " AS $$ BEGIN " + spread("SELECT * FROM arrived") + "; RETURN NULL; END $$",
	"CREATE TRIGGER spread AFTER INSERT ON flat REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION spread_flat()",
}
