package model

import (
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// Limits that are part of the definition of an order. Those that an operator may change
// are in [Options].
const (
	// MaxOrderUIDLength is the largest number of characters of an order_uid.
	MaxOrderUIDLength = 64
	// MaxInteger is the largest integer of an order, whether an amount in minor units, an
	// id or a status: the largest that every JSON reader represents exactly (2^53 - 1). A
	// thousand of them fit an int64.
	MaxInteger = 1<<53 - 1
	// MaxPaymentDT is the last second of the year 9999. A time in milliseconds by
	// mistake is larger from 1978 on.
	MaxPaymentDT = 253402300799
)

// Order is an order with its parts. The tag validate has the rules of a field, optional says
// that it may be absent, and mask what stands for a personal value, see [AppendMasked]: it
// satisfies the rules, and is the same for every value. No number of the country code 1
// begins with a zero, and the domain invalid is reserved (RFC 2606).
//
// Delivery and Payment are nil, and Items is empty, only in orders read from
// tables whose rows are missing; such an order has null in its canonical JSON
// and doesn't validate.
type Order struct {
	OrderUID          string    `json:"order_uid" validate:"order_uid"`
	TrackNumber       string    `json:"track_number" validate:"required,max=128,text"`
	Entry             string    `json:"entry" validate:"required,max=128,text"`
	Delivery          *Delivery `json:"delivery" validate:"required"`
	Payment           *Payment  `json:"payment" validate:"required"`
	Items             []Item    `json:"items" validate:"required,min=1,max_items,dive"`
	Locale            string    `json:"locale" validate:"bcp47"`
	InternalSignature string    `json:"internal_signature" validate:"max=1024,text" optional:""`
	CustomerID        string    `json:"customer_id" validate:"required,max=128,text" mask:"***"`
	DeliveryService   string    `json:"delivery_service" validate:"required,max=128,text"`
	Shardkey          string    `json:"shardkey" validate:"max=128,text"`
	SmID              int64     `json:"sm_id" validate:"min=0,max=9007199254740991"`
	// DateCreated has microseconds at most and is in UTC.
	DateCreated   time.Time `json:"date_created" validate:"year_range"`
	OofShard      string    `json:"oof_shard" validate:"max=128,text"`
	UnknownFields Unknown   `json:"-"`
}

// lacksParts reports whether no part of an order was decoded. An envelope may have its
// order_uid.
func (o *Order) lacksParts() bool {
	return o.Delivery == nil && o.Payment == nil && o.Items == nil
}

// Delivery says where an order goes and to whom. All of it is personal data.
type Delivery struct {
	Name          string  `json:"name" validate:"required,max=256,text" mask:"***"`
	Phone         string  `json:"phone" validate:"phone" mask:"+10000000000"`
	Zip           string  `json:"zip" validate:"max=32,text" mask:"***"`
	City          string  `json:"city" validate:"required,max=256,text" mask:"***"`
	Address       string  `json:"address" validate:"required,max=1024,text" mask:"***"`
	Region        string  `json:"region" validate:"max=256,text" mask:"***"`
	Email         string  `json:"email" validate:"email" mask:"masked@masked.invalid"`
	UnknownFields Unknown `json:"-"`
}

// Payment says how an order was paid. Amounts are in minor units of Currency.
type Payment struct {
	Transaction string `json:"transaction" validate:"required,max=128,text" mask:"***"`
	RequestID   string `json:"request_id" validate:"max=128,text" optional:""`
	Currency    string `json:"currency" validate:"iso4217"`
	Provider    string `json:"provider" validate:"required,max=128,text"`
	Amount      int64  `json:"amount" validate:"min=0,max=9007199254740991"`
	// PaymentDT counts seconds since 1970-01-01T00:00:00Z. 0 means not paid yet.
	PaymentDT     int64   `json:"payment_dt" validate:"unix_seconds"`
	Bank          string  `json:"bank" validate:"max=128,text"`
	DeliveryCost  int64   `json:"delivery_cost" validate:"min=0,max=9007199254740991"`
	GoodsTotal    int64   `json:"goods_total" validate:"min=0,max=9007199254740991"`
	CustomFee     int64   `json:"custom_fee" validate:"min=0,max=9007199254740991"`
	UnknownFields Unknown `json:"-"`
}

// Item is one position of an order. Amounts are in minor units of the
// payment's currency.
type Item struct {
	ChrtID      int64  `json:"chrt_id" validate:"min=0,max=9007199254740991"`
	TrackNumber string `json:"track_number" validate:"required,max=128,text"`
	Price       int64  `json:"price" validate:"min=0,max=9007199254740991"`
	RID         string `json:"rid" validate:"required,max=128,text"`
	Name        string `json:"name" validate:"required,max=1024,text"`
	// Sale is a discount in percent.
	Sale          int64   `json:"sale" validate:"min=0,max=100"`
	Size          string  `json:"size" validate:"max=128,text"`
	TotalPrice    int64   `json:"total_price" validate:"min=0,max=9007199254740991"`
	NmID          int64   `json:"nm_id" validate:"min=0,max=9007199254740991"`
	Brand         string  `json:"brand" validate:"max=256,text"`
	Status        int64   `json:"status" validate:"min=0,max=9007199254740991"`
	UnknownFields Unknown `json:"-"`
}

// A field is one member of the object that a T is in JSON. Decoding, canonical JSON,
// comparison and the order of failures all follow the tables of fields below, which are made
// of the structs: order and type of their fields, and the tags json, validate (the rules),
// mask and optional. The last of a table are the unknown fields, which have no name.
type field[T any] struct {
	name     string
	member   string // the name as canonical JSON has it: `"name":`
	optional bool   // may be absent, and is "" then
	mask     string // stands for the value in a masked order; "" if it is not personal

	// Exactly one is set.
	text    func(*T) *string
	number  func(*T) *int64
	time    func(*T) *time.Time
	part    *part[T]
	unknown func(*T) *Unknown
}

// A part is a field that is an object or an array.
type part[T any] struct {
	read   func(*decoder, *T) *fault
	append func([]byte, *T) []byte
	diff   func(paths []string, a, b *T) []string
	schema func() keywords
}

// named are the fields of a table that have a name.
func named[T any](fields []field[T]) []field[T] { return fields[:len(fields)-1] }

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
		case reflect.TypeFor[Unknown]():
			f.unknown = at[T, Unknown](of.Offset)
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
	return field[Order]{name: name, part: &part[Order]{
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
		schema: func() keywords { return schemaOf(fields) },
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
		field[Order]{name: "items", part: &part[Order]{read: readItems, append: appendItems, diff: diffItems,
			schema: func() keywords { return keywords{"type": "array", "items": schemaOf(itemFields)} }}},
	)
)
