package model

import "time"

// A field is one member of the object that a T is in JSON. Decoding, canonical JSON,
// comparison and the order of failures all follow the tables of fields below; the rules
// are in the structs' tags.
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

func text[T any](name string, at func(*T) *string) field[T] {
	return field[T]{name: name, member: `"` + name + `":`, text: at}
}

func optionalText[T any](name string, at func(*T) *string) field[T] {
	f := text(name, at)
	f.optional = true
	return f
}

// personalText is a text that says who somebody is or where they live. mask satisfies the
// rules of the field, and is the same for every value.
func personalText[T any](name, mask string, at func(*T) *string) field[T] {
	f := text(name, at)
	f.mask = `"` + mask + `"`
	return f
}

func number[T any](name string, at func(*T) *int64) field[T] {
	return field[T]{name: name, member: `"` + name + `":`, number: at}
}

// object is a part of the order that is an object: nil in an order whose row is missing.
// room is where decoding puts it.
func object[P any](name string, fields []field[P], at func(*Order) **P, room func(*storage) *P) field[Order] {
	mask, after := maskOf(fields)
	return field[Order]{name: name, member: `"` + name + `":`, part: &part[Order]{
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

// The tables, in the order of the canonical JSON.
var (
	orderFields = []field[Order]{
		text("order_uid", func(o *Order) *string { return &o.OrderUID }),
		text("track_number", func(o *Order) *string { return &o.TrackNumber }),
		text("entry", func(o *Order) *string { return &o.Entry }),
		object("delivery", deliveryFields, func(o *Order) **Delivery { return &o.Delivery }, func(s *storage) *Delivery { return &s.delivery }),
		object("payment", paymentFields, func(o *Order) **Payment { return &o.Payment }, func(s *storage) *Payment { return &s.payment }),
		{name: "items", member: `"items":`, part: &part[Order]{read: readItems, append: appendItems, diff: diffItems}},
		text("locale", func(o *Order) *string { return &o.Locale }),
		optionalText("internal_signature", func(o *Order) *string { return &o.InternalSignature }),
		personalText("customer_id", mask, func(o *Order) *string { return &o.CustomerID }),
		text("delivery_service", func(o *Order) *string { return &o.DeliveryService }),
		text("shardkey", func(o *Order) *string { return &o.Shardkey }),
		number("sm_id", func(o *Order) *int64 { return &o.SmID }),
		{name: "date_created", member: `"date_created":`, time: func(o *Order) *time.Time { return &o.DateCreated }},
		text("oof_shard", func(o *Order) *string { return &o.OofShard }),
	}
	deliveryFields = []field[Delivery]{
		personalText("name", mask, func(d *Delivery) *string { return &d.Name }),
		personalText("phone", "+10000000000", func(d *Delivery) *string { return &d.Phone }),
		personalText("zip", mask, func(d *Delivery) *string { return &d.Zip }),
		personalText("city", mask, func(d *Delivery) *string { return &d.City }),
		personalText("address", mask, func(d *Delivery) *string { return &d.Address }),
		personalText("region", mask, func(d *Delivery) *string { return &d.Region }),
		personalText("email", "masked@masked.invalid", func(d *Delivery) *string { return &d.Email }),
	}
	paymentFields = []field[Payment]{
		personalText("transaction", mask, func(p *Payment) *string { return &p.Transaction }),
		optionalText("request_id", func(p *Payment) *string { return &p.RequestID }),
		text("currency", func(p *Payment) *string { return &p.Currency }),
		text("provider", func(p *Payment) *string { return &p.Provider }),
		number("amount", func(p *Payment) *int64 { return &p.Amount }),
		number("payment_dt", func(p *Payment) *int64 { return &p.PaymentDT }),
		text("bank", func(p *Payment) *string { return &p.Bank }),
		number("delivery_cost", func(p *Payment) *int64 { return &p.DeliveryCost }),
		number("goods_total", func(p *Payment) *int64 { return &p.GoodsTotal }),
		number("custom_fee", func(p *Payment) *int64 { return &p.CustomFee }),
	}
	itemFields = []field[Item]{
		number("chrt_id", func(i *Item) *int64 { return &i.ChrtID }),
		text("track_number", func(i *Item) *string { return &i.TrackNumber }),
		number("price", func(i *Item) *int64 { return &i.Price }),
		text("rid", func(i *Item) *string { return &i.RID }),
		text("name", func(i *Item) *string { return &i.Name }),
		number("sale", func(i *Item) *int64 { return &i.Sale }),
		text("size", func(i *Item) *string { return &i.Size }),
		number("total_price", func(i *Item) *int64 { return &i.TotalPrice }),
		number("nm_id", func(i *Item) *int64 { return &i.NmID }),
		text("brand", func(i *Item) *string { return &i.Brand }),
		number("status", func(i *Item) *int64 { return &i.Status }),
	}
)
