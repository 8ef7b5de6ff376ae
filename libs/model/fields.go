package model

import "time"

// A field is one member of the object that a T is in JSON. The tables of
// fields below are what decoding, canonical JSON, comparison and the order of
// failures have in common; the rules stand in the structs' tags.
type field[T any] struct {
	name     string
	member   string // the name as canonical JSON has it: `"name":`
	optional bool   // may be absent, and is "" then

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
}

func text[T any](name string, at func(*T) *string) field[T] {
	return field[T]{name: name, member: `"` + name + `":`, text: at}
}

func optionalText[T any](name string, at func(*T) *string) field[T] {
	f := text(name, at)
	f.optional = true
	return f
}

func number[T any](name string, at func(*T) *int64) field[T] {
	return field[T]{name: name, member: `"` + name + `":`, number: at}
}

// The tables, in the order of the canonical JSON.
var (
	orderFields = []field[Order]{
		text("order_uid", func(o *Order) *string { return &o.OrderUID }),
		text("track_number", func(o *Order) *string { return &o.TrackNumber }),
		text("entry", func(o *Order) *string { return &o.Entry }),
		{name: "delivery", member: `"delivery":`, part: &part[Order]{readDelivery, appendDelivery, diffDelivery}},
		{name: "payment", member: `"payment":`, part: &part[Order]{readPayment, appendPayment, diffPayment}},
		{name: "items", member: `"items":`, part: &part[Order]{readItems, appendItems, diffItems}},
		text("locale", func(o *Order) *string { return &o.Locale }),
		optionalText("internal_signature", func(o *Order) *string { return &o.InternalSignature }),
		text("customer_id", func(o *Order) *string { return &o.CustomerID }),
		text("delivery_service", func(o *Order) *string { return &o.DeliveryService }),
		text("shardkey", func(o *Order) *string { return &o.Shardkey }),
		number("sm_id", func(o *Order) *int64 { return &o.SmID }),
		{name: "date_created", member: `"date_created":`, time: func(o *Order) *time.Time { return &o.DateCreated }},
		text("oof_shard", func(o *Order) *string { return &o.OofShard }),
	}
	deliveryFields = []field[Delivery]{
		text("name", func(d *Delivery) *string { return &d.Name }),
		text("phone", func(d *Delivery) *string { return &d.Phone }),
		text("zip", func(d *Delivery) *string { return &d.Zip }),
		text("city", func(d *Delivery) *string { return &d.City }),
		text("address", func(d *Delivery) *string { return &d.Address }),
		text("region", func(d *Delivery) *string { return &d.Region }),
		text("email", func(d *Delivery) *string { return &d.Email }),
	}
	paymentFields = []field[Payment]{
		text("transaction", func(p *Payment) *string { return &p.Transaction }),
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
