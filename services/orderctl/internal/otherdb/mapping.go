package otherdb

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/orderhub/orderhub/libs/model"
)

// Mapping says where the parts of an order come from. As a file it is YAML or JSON,
// and holds what is to differ from the guess.
type Mapping struct {
	Orders     Part `yaml:"orders,omitempty" json:"orders,omitzero"`
	Deliveries Part `yaml:"deliveries,omitempty" json:"deliveries,omitzero"`
	Payments   Part `yaml:"payments,omitempty" json:"payments,omitzero"`
	Items      Part `yaml:"items,omitempty" json:"items,omitzero"`
}

// Part says where one of the four parts comes from, in SQL.
type Part struct {
	// From is the FROM clause, with the aliases that the expressions use.
	From string `yaml:"from,omitempty" json:"from,omitempty"`
	// Sort is the expression by which the items of an order are sorted.
	Sort string `yaml:"sort,omitempty" json:"sort,omitempty"`
	// Columns has an expression for each field. That of order_uid tells which order
	// a row belongs to.
	Columns map[string]string `yaml:"columns,omitempty" json:"columns,omitempty"`
}

// parts of the mapping, in the order of kinds.
func (m *Mapping) parts() [4]*Part {
	return [4]*Part{&m.Orders, &m.Deliveries, &m.Payments, &m.Items}
}

// ParseMapping reads a mapping file.
func ParseMapping(data []byte) (Mapping, error) {
	var m Mapping
	if err := yaml.UnmarshalWithOptions(data, &m, yaml.Strict()); err != nil {
		return m, err
	}
	for i, part := range m.parts() {
		for _, name := range slices.Sorted(maps.Keys(part.Columns)) {
			if !slices.ContainsFunc(kinds[i].fields, func(f field) bool { return f.name == name }) {
				return m, fmt.Errorf("%s.columns: an order has no field %s there", kinds[i].name, name)
			}
		}
		if part.Sort != "" && kinds[i].name != "items" {
			return m, fmt.Errorf("%s.sort: only items are sorted", kinds[i].name)
		}
	}
	return m, nil
}

// over returns the guess with what the operator said instead.
func (m Mapping) over(guess Mapping) Mapping {
	given, parts := m.parts(), guess.parts()
	for i, part := range parts {
		if given[i].From != "" {
			part.From = given[i].From
		}
		if given[i].Sort != "" {
			part.Sort = given[i].Sort
		}
		if part.Columns == nil {
			part.Columns = map[string]string{}
		}
		maps.Copy(part.Columns, given[i].Columns)
	}
	return guess
}

// kind is one of the four parts of an order.
type kind struct {
	name   string // as Orderhub's table
	one    string // the singular
	alias  string // of the part's own table
	fields []field
}

// field of a part, by its name in JSON.
type field struct {
	name     string
	optional bool
	form     form
}

// form is how a field is written in JSON.
type form int8

const (
	text form = iota
	number
	timestamp
)

const orderUID = "order_uid"

// kinds are the parts in the order of the mapping's.
var kinds = [4]kind{
	{"orders", "order", "o", fieldsOf(reflect.TypeFor[model.Order]())},
	{"deliveries", "delivery", "d", append([]field{{name: orderUID}}, fieldsOf(reflect.TypeFor[model.Delivery]())...)},
	{"payments", "payment", "p", append([]field{{name: orderUID}}, fieldsOf(reflect.TypeFor[model.Payment]())...)},
	{"items", "item", "i", append([]field{{name: orderUID}}, fieldsOf(reflect.TypeFor[model.Item]())...)},
}

// fieldsOf are the fields of a part that have a value of their own.
func fieldsOf(part reflect.Type) (fields []field) {
	for f := range part.Fields() {
		name := f.Tag.Get("json")
		_, optional := f.Tag.Lookup("optional")
		one := field{name: name, optional: optional}
		switch f.Type {
		case reflect.TypeFor[string]():
		case reflect.TypeFor[int64]():
			one.form = number
		case reflect.TypeFor[time.Time]():
			one.form = timestamp
		default:
			continue
		}
		fields = append(fields, one)
	}
	return fields
}

// String is the whole mapping as a file.
func (m Mapping) String() string { return m.text(false) }

// Brief is String without the fields that are in columns of their own names.
func (m Mapping) Brief() string { return m.text(true) }

func (m Mapping) text(brief bool) string {
	var file yaml.MapSlice
	for i, part := range m.parts() {
		says := yaml.MapSlice{{Key: "from", Value: part.From}}
		if part.Sort != "" {
			says = append(says, yaml.MapItem{Key: "sort", Value: part.Sort})
		}
		var columns yaml.MapSlice
		for _, f := range kinds[i].fields {
			if expression, ok := part.Columns[f.name]; ok && (!brief || expression != kinds[i].alias+"."+f.name) {
				columns = append(columns, yaml.MapItem{Key: f.name, Value: expression})
			}
		}
		if columns != nil {
			says = append(says, yaml.MapItem{Key: "columns", Value: columns})
		}
		file = append(file, yaml.MapItem{Key: kinds[i].name, Value: says})
	}
	text, err := yaml.MarshalWithOptions(file, yaml.UseSingleQuote(true))
	if err != nil {
		panic(err) // texts only
	}
	return string(text)
}

// Names are compared without case, underscores and quotes.
func norm(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", `"`, "", " ", "").Replace(name))
}

// Other names of tables and fields, in the order in which they are tried.
var (
	tableNames = map[string][]string{
		"orders":     {"orders", "order"},
		"deliveries": {"deliveries", "delivery", "orderdeliveries", "orderdelivery"},
		"payments":   {"payments", "payment", "orderpayments", "orderpayment"},
		"items":      {"items", "item", "orderitems", "orderitem", "products", "product"},
	}
	fieldNames = map[string][]string{
		"orders.order_uid":     {"orderuid", "uid", "orderid", "id"},
		"orders.date_created":  {"datecreated", "createdat", "created", "datecreate", "creationdate"},
		"orders.customer_id":   {"customerid", "customer"},
		"deliveries.phone":     {"phone", "phonenumber", "tel"},
		"deliveries.zip":       {"zip", "zipcode", "postalcode", "postcode"},
		"deliveries.address":   {"address", "addr"},
		"deliveries.email":     {"email", "mail", "emailaddress"},
		"deliveries.name":      {"name", "fullname", "recipient"},
		"payments.transaction": {"transaction", "transactionid", "transactionuid"},
		"payments.payment_dt":  {"paymentdt", "paymentdate", "paymenttime", "paidat", "datepayment"},
		"payments.custom_fee":  {"customfee", "customsfee"},
		"items.chrt_id":        {"chrtid", "chartid"},
		"items.total_price":    {"totalprice", "total"},
		"items.sale":           {"sale", "discount"},
	}
	sortNames = []string{"position", "pos", "idx", "index", "num", "number", "line", "lineno", "linenumber", "itemno", "seq", "ordinal", "sortorder", "id"}
)

func isInteger(kind string) bool { return kind == "integer" || kind == "bigint" || kind == "smallint" }

// find returns the first column that has one of the names.
func (t *table) find(names ...string) (column, bool) {
	for _, name := range names {
		for _, c := range t.columns {
			if norm(c.name) == name {
				return c, true
			}
		}
	}
	return column{}, false
}

// field finds the column of a field, under its own or another name, with or without
// the part's name before it, as in delivery_name.
func (t *table) field(k kind, name string) (column, bool) {
	names := fieldNames[k.name+"."+name]
	if names == nil {
		names = []string{norm(name)}
	}
	for _, n := range names {
		if c, ok := t.find(n, k.one+n); ok {
			return c, true
		}
	}
	return column{}, false
}

// columnsOf are the expressions of the fields that a table has.
func (t *table) columnsOf(k kind) map[string]string {
	columns := map[string]string{}
	for _, f := range k.fields {
		if c, ok := t.field(k, f.name); ok && (f.name != orderUID || k.name == "orders") {
			columns[f.name] = k.alias + "." + c.name
		}
	}
	return columns
}

// tableOf chooses the table of a part: of those with a likely name, the one that has
// most of its fields.
func (db *DB) tableOf(k kind) (best *table) {
	for _, name := range tableNames[k.name] {
		for _, t := range db.tables {
			if norm(t.name) == name && (best == nil || len(t.columnsOf(k)) > len(best.columnsOf(k))) {
				best = t
			}
		}
	}
	return best
}

func (db *DB) guess() (m Mapping) {
	orders := db.tableOf(kinds[0])
	if orders == nil {
		return m
	}
	m.Orders = Part{From: orders.name + " o", Columns: orders.columnsOf(kinds[0])}
	uid, _ := orders.field(kinds[0], orderUID)
	for i, part := range m.parts() {
		t := db.tableOf(kinds[i])
		if i == 0 || t == nil {
			continue
		}
		from, of := db.join(kinds[i], t, orders, uid)
		*part = Part{From: from, Columns: t.columnsOf(kinds[i])}
		if of != "" {
			part.Columns[orderUID] = of
		}
		if kinds[i].name == "items" {
			part.Sort = t.sort("i")
		}
	}
	return m
}

// sort is the best that tells in which order items came.
func (t *table) sort(alias string) string {
	for _, c := range t.columns {
		if c.key && isInteger(c.kind) && !slices.ContainsFunc(sortNames[:len(sortNames)-1], func(n string) bool { _, ok := t.find(n); return ok }) {
			return alias + "." + c.name
		}
	}
	if c, ok := t.find(sortNames...); ok {
		return alias + "." + c.name
	}
	if t.plain {
		return alias + ".ctid" // as they were inserted, unless they were changed
	}
	return ""
}

// join returns the FROM clause that brings a part together with its order, and the
// expression of the order's uid; "" where the tables do not tell.
func (db *DB) join(k kind, part, orders *table, uid column) (from, of string) {
	self, uidOf := part.name+" "+k.alias, "o."+uid.name
	direct := func(own string) (string, string) { return self, k.alias + "." + own }
	joined := func(own, theirs string) (string, string) {
		return self + " JOIN " + orders.name + " o ON o." + theirs + " = " + k.alias + "." + own, uidOf
	}
	for _, l := range db.links {
		switch {
		case l.table == part.name && l.toTable == orders.name && l.toColumn == uid.name:
			return direct(l.column)
		case l.table == part.name && l.toTable == orders.name:
			return joined(l.column, l.toColumn)
		case l.table == orders.name && l.toTable == part.name:
			return joined(l.toColumn, l.column)
		}
	}
	// A table between the two, such as order_items.
	for _, a := range db.links {
		for _, b := range db.links {
			if a.table == b.table && a.toTable == orders.name && b.toTable == part.name {
				return a.table + " l JOIN " + orders.name + " o ON o." + a.toColumn + " = l." + a.column +
					" JOIN " + part.name + " " + k.alias + " ON " + k.alias + "." + b.toColumn + " = l." + b.column, uidOf
			}
		}
	}
	// No foreign keys: names.
	if own, ok := part.find("orderuid"); ok {
		return direct(own.name)
	}
	if own, ok := part.find("orderid"); ok {
		if id, ok := orders.find("id"); ok && (isInteger(id.kind) == isInteger(own.kind)) {
			return joined(own.name, id.name)
		}
		return direct(own.name)
	}
	if theirs, ok := orders.find(k.one+"id", k.one+"uid"); ok {
		if own, ok := part.find(norm(theirs.name), "id", "uid"); ok {
			return joined(own.name, theirs.name)
		}
	}
	if own, ok := part.field(k, "transaction"); ok && k.name == "payments" {
		return direct(own.name)
	}
	theirs, ok := orders.find("tracknumber")
	if own, has := part.find("tracknumber"); ok && has && k.name == "items" {
		return joined(own.name, theirs.name)
	}
	return self, ""
}
