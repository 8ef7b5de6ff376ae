package model

import (
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// A field is one member of the object that a T is in JSON. Decoding, canonical JSON,
// comparison and the order of failures all follow the tables of fields below, which are made
// of the structs: order and type of their fields, and the tags json, validate (the rules),
// mask and optional.
type field[T any] struct {
	name     string
	member   string // the name as canonical JSON has it: `"name":`
	optional bool   // may be absent, and is "" then
	mask     string // stands for the value in a masked order; "" if it is not personal

	// Exactly one is set.
	text   func(*T) *string
	number func(*T) *int64
	time   func(*T) *time.Time
	part   *part[T]
}

// A part is a field that is an object or an array.
type part[T any] struct {
	read   func(*decoder, *T) *fault
	append func([]byte, *T) []byte
	diff   func(paths []string, a, b *T) []string

	// What stands for the personal fields that the part begins with, and the member that
	// follows them; see newCuts.
	mask, after string
}

// isZero reports whether the field of v is "" or 0.
func (f *field[T]) isZero(v *T) bool {
	switch {
	case f.text != nil:
		return *f.text(v) == ""
	case f.number != nil:
		return *f.number(v) == 0
	}
	return false
}

// fieldsOf is the table of a struct: its scalar fields by their tags, and its parts.
func fieldsOf[T any](parts ...field[T]) []field[T] {
	var fields []field[T]
	for of := range reflect.TypeFor[T]().Fields() {
		name := of.Tag.Get("json")
		f := field[T]{name: name}
		switch of.Type {
		case reflect.TypeFor[string]():
			f.text = at[T, string](of.Offset)
		case reflect.TypeFor[int64]():
			f.number = at[T, int64](of.Offset)
		case reflect.TypeFor[time.Time]():
			f.time = at[T, time.Time](of.Offset)
		default:
			f = parts[slices.IndexFunc(parts, func(p field[T]) bool { return p.name == name })]
		}
		f.member = `"` + name + `":`
		_, f.optional = of.Tag.Lookup("optional")
		if mask, personal := of.Tag.Lookup("mask"); personal {
			f.mask = `"` + mask + `"`
		}
		fields = append(fields, f)
	}
	return fields
}

// at returns a function that finds the field at an offset of a T.
func at[T, F any](offset uintptr) func(*T) *F {
	return func(v *T) *F { return (*F)(unsafe.Add(unsafe.Pointer(v), offset)) }
}

// object is a part of the order that is an object: nil in an order whose row is missing.
// room is where decoding puts it.
func object[P any](name string, fields []field[P], at func(*Order) **P, room func(*storage) *P) field[Order] {
	mask, after := maskOf(fields)
	return field[Order]{name: name, part: &part[Order]{
		mask: mask, after: after,
		read: func(d *decoder, o *Order) *fault {
			if d.peek() != '{' {
				return d.wrongType(name, "an object", 1)
			}
			*at(o) = room(d.store)
			d.container = name
			f := readObject(d, *at(o), fields, 2)
			d.container = ""
			return f
		},
		append: func(dst []byte, o *Order) []byte {
			if *at(o) == nil {
				return append(dst, "null"...)
			}
			return appendObject(dst, *at(o), fields)
		},
		diff: func(paths []string, a, b *Order) []string {
			switch one, other := *at(a), *at(b); {
			case one != nil && other != nil:
				return diffObject(paths, name+".", one, other, fields)
			case one != other:
				return append(paths, name)
			}
			return paths
		},
	}}
}

// The tables, in the order of the canonical JSON, which is that of the structs.
var (
	deliveryFields = fieldsOf[Delivery]()
	paymentFields  = fieldsOf[Payment]()
	itemFields     = fieldsOf[Item]()
	orderFields    = fieldsOf(
		object("delivery", deliveryFields, func(o *Order) **Delivery { return &o.Delivery }, func(s *storage) *Delivery { return &s.delivery }),
		object("payment", paymentFields, func(o *Order) **Payment { return &o.Payment }, func(s *storage) *Payment { return &s.payment }),
		field[Order]{name: "items", part: &part[Order]{read: readItems, append: appendItems, diff: diffItems}},
	)
)
