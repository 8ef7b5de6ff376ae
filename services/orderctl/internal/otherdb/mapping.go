package otherdb

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
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
