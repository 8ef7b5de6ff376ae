package synth

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/libs/model"
)

// Fault is a way in which a record is no valid order.
type Fault struct {
	// Name is what people and scripts call it by.
	Name string
	// About says in a few words what is wrong.
	About string
	// Stage and Reason are those with which libs/model refuses it.
	Stage  model.Stage
	Reason model.Reason
	// Path is the field that breaks a rule, with StageValidate.
	Path string

	value valueFunc
	// unnamed: no order_uid can be read from the value. keyless: such records come
	// from producers that set no key.
	unnamed, keyless bool
}

// A valueFunc makes a record's value of an order that is valid.
type valueFunc func(*maker, *model.Order) []byte

// Faults lists all faults by name.
func Faults() []Fault { return slices.Clone(faults) }

func chooseFaults(names []string) ([]Fault, error) {
	if len(names) == 0 {
		return Faults(), nil
	}
	chosen := make([]Fault, len(names))
	for i, name := range names {
		at := slices.IndexFunc(faults, func(f Fault) bool { return f.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("faults: there is no %q", name)
		}
		chosen[i] = faults[at]
	}
	return chosen, nil
}

func (f *Fault) record(m *maker, o *model.Order) Record {
	uid := o.OrderUID
	r := Record{Kind: KindInvalid, Fault: f.Name, Key: []byte(uid), Value: f.value(m, o)}
	if !f.unnamed {
		r.UID = uid
	}
	if f.keyless {
		r.Key = nil
	}
	return r
}

var faults = []Fault{
	undecodable("tombstone", "a null value", model.ReasonTombstone, anything(nil)).withoutUID(),
	undecodable("empty_value", "a value of no bytes", model.ReasonEmpty, anything([]byte{})).withoutKey(),
	undecodable("white_space", "a value of blanks and line ends", model.ReasonEmpty, anything([]byte(" \r\n"))).withoutKey(),
	undecodable("plain_text", "a sentence instead of JSON", model.ReasonNotJSON, anything([]byte("hello, is this topic in use?"))).withoutKey(),
	undecodable("cut_off", "JSON that ends in the middle", model.ReasonNotJSON, spoil(func(v []byte) []byte { return v[:len(v)*2/3] })).withoutUID(),
	undecodable("single_quotes", "a Python dict instead of JSON", model.ReasonNotJSON, spoil(func(v []byte) []byte { return bytes.ReplaceAll(v, []byte(`"`), []byte(`'`)) })).withoutUID(),
	undecodable("pretty_line", "one line of a pretty-printed order", model.ReasonPrettyPrinted, func(m *maker, _ *model.Order) []byte { return []byte(m.pick(prettyLines)) }).withoutKey(),
	undecodable("trailing_data", "a second order after the first", model.ReasonTrailingData, spoil(func(v []byte) []byte { return slices.Concat(v, []byte("\n"), v) })),
	undecodable("array", "an array with the order in it", model.ReasonWrapped, spoil(func(v []byte) []byte { return slices.Concat([]byte("["), v, []byte("]")) })).withoutUID(),
	undecodable("null", "JSON's null", model.ReasonWrongType, anything([]byte("null"))).withoutKey(),
	undecodable("quoted", "the order as a JSON text", model.ReasonWrapped, spoil(quote)).withoutUID(),
	undecodable("duplicate_name", "a name twice in an object", model.ReasonDuplicateName, replace(`,"customer_id":`, `,"customer_id":"c1","customer_id":`)),
	undecodable("nul_character", `\u0000 in a text`, model.ReasonNUL, change(func(o *model.Order) { o.Delivery.Address += "\x00" })),
	undecodable("lone_surrogate", `\ud83d without its other half`, model.ReasonLoneSurrogate, replace(`"items":[{`, `"comment":"\ud83d","items":[{`)),
	undecodable("invalid_utf8", "text in another encoding", model.ReasonInvalidUTF8, replace(`"delivery":{"name":"`, "\"delivery\":{\"name\":\"Ren\xe9e ")),
	undecodable("too_deep", "an unknown field nested 100 levels deep", model.ReasonTooDeep, replace(`,"items":`, `,"extra":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,"items":`)),
	undecodable("too_large", "more than a record may have", model.ReasonTooLarge, replace(`,"items":`, `,"comment":"`+strings.Repeat("a large comment ", model.DefaultMaxRecordBytes/16)+`","items":`)),
	undecodable("amount_as_text", "a text instead of an integer", model.ReasonWrongType, replace(`"amount":`, `"amount":"1817","amount_as_number":`)),
	undecodable("fraction", "an amount with a decimal point", model.ReasonWrongType, replace(`"amount":`, `"amount":18.17,"amount_in_cents":`)),
	undecodable("exponent", "an amount written as 1e3", model.ReasonWrongType, replace(`"amount":`, `"amount":1e3,"amount_in_full":`)),
	undecodable("overflow", "an integer that needs more than 64 bits", model.ReasonOutOfRange, replace(`"chrt_id":`, `"chrt_id":92233720368547758070,"chrt":`)),
	undecodable("items_object", "an object instead of the array of items", model.ReasonWrongType, replace(`"items":[`, `"items":{},"goods":[`)),
	undecodable("delivery_null", "null instead of a part", model.ReasonWrongType, change(func(o *model.Order) { o.Delivery = nil })),

	invalid("missing_field", "a field that is not there", "track_number", replace(`"track_number":`, `"tracking":`)),
	invalid("missing_payment", "a part that is not there", "payment", replace(`"payment":`, `"billing":`)),
	invalid("wrong_case", "a name in capitals", "order_uid", replace(`"order_uid":`, `"Order_UID":`)).withoutUID(),
	invalid("bad_uid", "an order_uid that cannot stand in an address", "order_uid", change(func(o *model.Order) { o.OrderUID = "order " + o.OrderUID[:8] + "/1" })).withoutUID(),
	invalid("empty_text", "a required text that is empty", "delivery.city", change(func(o *model.Order) { o.Delivery.City = "" })),
	invalid("long_text", "a text longer than its field", "items[0].name", change(func(o *model.Order) { o.Items[0].Name = strings.Repeat("very ", 300) + "long" })),
	invalid("negative_amount", "an amount below 0", "payment.amount", change(func(o *model.Order) { o.Payment.Amount = -o.Payment.Amount - 1 })),
	invalid("negative_price", "an item's price below 0", "items[0].price", change(func(o *model.Order) { o.Items[0].Price = -1 })),
	invalid("sale_range", "a discount of more than 100 %", "items[0].sale", change(func(o *model.Order) { o.Items[0].Sale = 130 })),
	invalid("bad_email", "an e-mail address without its host", "delivery.email", oneOf(func(o *model.Order) *string { return &o.Delivery.Email }, "customer@", "not an address", "")),
	invalid("bad_phone", "a phone number that is none", "delivery.phone", oneOf(func(o *model.Order) *string { return &o.Delivery.Phone }, "8 (800) 000-00-00", "call me", "")),
	invalid("bad_currency", "a currency that ISO 4217 has not", "payment.currency", oneOf(func(o *model.Order) *string { return &o.Payment.Currency }, "DOL", "usd", "€")),
	invalid("bad_locale", "a locale that is no language tag", "locale", oneOf(func(o *model.Order) *string { return &o.Locale }, "english", "en_US", "")),
	invalid("bad_date", "a date that is not RFC 3339", "date_created", replace(`"date_created":"`, `"date_created":"26.11.2021 06:22","created":"`)),
	invalid("milliseconds", "payment_dt in milliseconds", "payment.payment_dt", change(func(o *model.Order) { o.Payment.PaymentDT *= 1000 })),
	invalid("no_items", "an order of nothing", "items", replace(`"items":[`, `"items":[],"goods":[`)),
	invalid("too_many_items", "more items than an order may have", "items", change(func(o *model.Order) {
		o.Items = slices.Repeat(o.Items[:1], model.DefaultMaxItems+1)
	})),
}

func undecodable(name, about string, reason model.Reason, value valueFunc) Fault {
	return Fault{Name: name, About: about, Stage: model.StageDecode, Reason: reason, value: value}
}

func invalid(name, about, path string, value valueFunc) Fault {
	return Fault{Name: name, About: about, Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: path, value: value}
}

func (f Fault) withoutUID() Fault {
	f.unnamed = true
	return f
}

func (f Fault) withoutKey() Fault {
	f.unnamed, f.keyless = true, true
	return f
}

// prettyLines are what arrives when a pretty-printed order is sent line by line.
var prettyLines = []string{
	`{`, `  "order_uid": "b563feb7b2b84b6test",`, `  "delivery": {`, `    "name": "Test Testov",`, `  "items": [`, `  },`, `}`,
}

func anything(value []byte) valueFunc { return func(*maker, *model.Order) []byte { return value } }

func change(how func(*model.Order)) valueFunc {
	return func(_ *maker, o *model.Order) []byte {
		how(o)
		return encode(o)
	}
}

// oneOf puts one of the texts into a field.
func oneOf(field func(*model.Order) *string, texts ...string) valueFunc {
	return func(m *maker, o *model.Order) []byte {
		*field(o) = m.pick(texts)
		return encode(o)
	}
}

// spoil changes the order's canonical JSON.
func spoil(how func([]byte) []byte) valueFunc {
	return func(_ *maker, o *model.Order) []byte { return how(encode(o)) }
}

func quote(v []byte) []byte {
	return slices.Concat([]byte(`"`), bytes.ReplaceAll(v, []byte(`"`), []byte(`\"`)), []byte(`"`))
}

// replace puts text in the place of other text that every order's canonical
// JSON has, the first time it stands there.
func replace(old, with string) valueFunc {
	return spoil(func(v []byte) []byte { return bytes.Replace(v, []byte(old), []byte(with), 1) })
}
