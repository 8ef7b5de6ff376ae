package synth

import (
	"bytes"
	"fmt"
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

	// One of the two makes the record's value: from the order's fields, or
	// from its canonical JSON.
	change func(*maker, *model.Order)
	spoil  func(*maker, []byte) []byte
	// unnamed: no order_uid can be read from the value.
	unnamed bool
	// keyless: such records come from producers that set no key.
	keyless bool
}

// Faults lists all faults by name.
func Faults() []Fault { return append([]Fault(nil), faults...) }

func chooseFaults(names []string) ([]Fault, error) {
	if len(names) == 0 {
		return Faults(), nil
	}
	var chosen []Fault
	for _, name := range names {
		found := false
		for _, f := range faults {
			if f.Name == name {
				chosen, found = append(chosen, f), true
			}
		}
		if !found {
			return nil, fmt.Errorf("faults: there is no %q", name)
		}
	}
	return chosen, nil
}

func (f *Fault) record(m *maker, o *model.Order) Record {
	r := Record{Kind: KindInvalid, Fault: f.Name, Key: []byte(o.OrderUID)}
	if f.change != nil {
		f.change(m, o)
	}
	r.Value = encode(o)
	if f.spoil != nil {
		r.Value = f.spoil(m, r.Value)
	}
	if !f.unnamed {
		r.UID = o.OrderUID
	}
	if f.keyless {
		r.Key = nil
	}
	return r
}

var faults = []Fault{
	{Name: "tombstone", About: "a null value", Stage: model.StageDecode, Reason: model.ReasonTombstone, unnamed: true,
		spoil: func(*maker, []byte) []byte { return nil }},
	{Name: "empty_value", About: "a value of no bytes", Stage: model.StageDecode, Reason: model.ReasonEmpty, unnamed: true, keyless: true,
		spoil: func(*maker, []byte) []byte { return []byte{} }},
	{Name: "white_space", About: "a value of blanks and line ends", Stage: model.StageDecode, Reason: model.ReasonEmpty, unnamed: true, keyless: true,
		spoil: func(*maker, []byte) []byte { return []byte(" \r\n") }},
	{Name: "plain_text", About: "a sentence instead of JSON", Stage: model.StageDecode, Reason: model.ReasonNotJSON, unnamed: true, keyless: true,
		spoil: func(*maker, []byte) []byte { return []byte("hello, is this topic in use?") }},
	{Name: "cut_off", About: "JSON that ends in the middle", Stage: model.StageDecode, Reason: model.ReasonNotJSON, unnamed: true,
		spoil: func(_ *maker, v []byte) []byte { return v[:len(v)*2/3] }},
	{Name: "single_quotes", About: "a Python dict instead of JSON", Stage: model.StageDecode, Reason: model.ReasonNotJSON, unnamed: true,
		spoil: func(_ *maker, v []byte) []byte { return bytes.ReplaceAll(v, []byte(`"`), []byte(`'`)) }},
	{Name: "pretty_line", About: "one line of a pretty-printed order", Stage: model.StageDecode, Reason: model.ReasonPrettyPrinted, unnamed: true, keyless: true,
		spoil: func(m *maker, _ []byte) []byte { return []byte(m.pick(prettyLines)) }},
	{Name: "trailing_data", About: "a second order after the first", Stage: model.StageDecode, Reason: model.ReasonTrailingData,
		spoil: func(_ *maker, v []byte) []byte { return append(append(v, '\n'), v...) }},
	{Name: "array", About: "an array with the order in it", Stage: model.StageDecode, Reason: model.ReasonWrapped, unnamed: true,
		spoil: func(_ *maker, v []byte) []byte { return append(append([]byte("["), v...), ']') }},
	{Name: "null", About: "JSON's null", Stage: model.StageDecode, Reason: model.ReasonWrongType, unnamed: true, keyless: true,
		spoil: func(*maker, []byte) []byte { return []byte("null") }},
	{Name: "quoted", About: "the order as a JSON text", Stage: model.StageDecode, Reason: model.ReasonWrapped, unnamed: true,
		spoil: func(_ *maker, v []byte) []byte {
			return append(append([]byte(`"`), bytes.ReplaceAll(v, []byte(`"`), []byte(`\"`))...), '"')
		}},
	{Name: "duplicate_name", About: "a name twice in an object", Stage: model.StageDecode, Reason: model.ReasonDuplicateName,
		spoil: replace(`,"customer_id":`, `,"customer_id":"c1","customer_id":`)},
	{Name: "nul_character", About: `\u0000 in a text`, Stage: model.StageDecode, Reason: model.ReasonNUL,
		change: func(_ *maker, o *model.Order) { o.Delivery.Address += "\x00" }},
	{Name: "lone_surrogate", About: `\ud83d without its other half`, Stage: model.StageDecode, Reason: model.ReasonLoneSurrogate,
		spoil: replace(`"items":[{`, `"comment":"\ud83d","items":[{`)},
	{Name: "invalid_utf8", About: "text in another encoding", Stage: model.StageDecode, Reason: model.ReasonInvalidUTF8,
		spoil: replace(`"delivery":{"name":"`, "\"delivery\":{\"name\":\"Ren\xe9e ")},
	{Name: "too_deep", About: "an unknown field nested 100 levels deep", Stage: model.StageDecode, Reason: model.ReasonTooDeep,
		spoil: replace(`,"items":`, `,"extra":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,"items":`)},
	{Name: "too_large", About: "more than a record may have", Stage: model.StageDecode, Reason: model.ReasonTooLarge,
		spoil: replace(`,"items":`, `,"comment":"`+strings.Repeat("a large comment ", model.DefaultMaxRecordBytes/16)+`","items":`)},
	{Name: "amount_as_text", About: "a text instead of an integer", Stage: model.StageDecode, Reason: model.ReasonWrongType,
		spoil: replace(`"amount":`, `"amount":"1817","amount_as_number":`)},
	{Name: "fraction", About: "an amount with a decimal point", Stage: model.StageDecode, Reason: model.ReasonWrongType,
		spoil: replace(`"amount":`, `"amount":18.17,"amount_in_cents":`)},
	{Name: "exponent", About: "an amount written as 1e3", Stage: model.StageDecode, Reason: model.ReasonWrongType,
		spoil: replace(`"amount":`, `"amount":1e3,"amount_in_full":`)},
	{Name: "overflow", About: "an integer that needs more than 64 bits", Stage: model.StageDecode, Reason: model.ReasonOutOfRange,
		spoil: replace(`"chrt_id":`, `"chrt_id":92233720368547758070,"chrt":`)},
	{Name: "items_object", About: "an object instead of the array of items", Stage: model.StageDecode, Reason: model.ReasonWrongType,
		spoil: replace(`"items":[`, `"items":{},"goods":[`)},
	{Name: "delivery_null", About: "null instead of a part", Stage: model.StageDecode, Reason: model.ReasonWrongType,
		change: func(_ *maker, o *model.Order) { o.Delivery = nil }},

	{Name: "missing_field", About: "a field that is not there", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "track_number",
		spoil: replace(`"track_number":`, `"tracking":`)},
	{Name: "missing_payment", About: "a part that is not there", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "payment",
		spoil: replace(`"payment":`, `"billing":`)},
	{Name: "wrong_case", About: "a name in capitals", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "order_uid", unnamed: true,
		spoil: replace(`"order_uid":`, `"Order_UID":`)},
	{Name: "bad_uid", About: "an order_uid that cannot stand in an address", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "order_uid", unnamed: true,
		change: func(_ *maker, o *model.Order) { o.OrderUID = "order " + o.OrderUID[:8] + "/1" }},
	{Name: "empty_text", About: "a required text that is empty", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "delivery.city",
		change: func(_ *maker, o *model.Order) { o.Delivery.City = "" }},
	{Name: "long_text", About: "a text longer than its field", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "items[0].name",
		change: func(_ *maker, o *model.Order) { o.Items[0].Name = strings.Repeat("very ", 300) + "long" }},
	{Name: "negative_amount", About: "an amount below 0", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "payment.amount",
		change: func(_ *maker, o *model.Order) { o.Payment.Amount = -o.Payment.Amount - 1 }},
	{Name: "negative_price", About: "an item's price below 0", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "items[0].price",
		change: func(_ *maker, o *model.Order) { o.Items[0].Price = -1 }},
	{Name: "sale_range", About: "a discount of more than 100 %", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "items[0].sale",
		change: func(_ *maker, o *model.Order) { o.Items[0].Sale = 130 }},
	{Name: "bad_email", About: "an e-mail address without its host", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "delivery.email",
		change: func(m *maker, o *model.Order) { o.Delivery.Email = m.pick([]string{"customer@", "not an address", ""}) }},
	{Name: "bad_phone", About: "a phone number that is none", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "delivery.phone",
		change: func(m *maker, o *model.Order) {
			o.Delivery.Phone = m.pick([]string{"8 (800) 000-00-00", "call me", ""})
		}},
	{Name: "bad_currency", About: "a currency that ISO 4217 has not", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "payment.currency",
		change: func(m *maker, o *model.Order) { o.Payment.Currency = m.pick([]string{"DOL", "usd", "€"}) }},
	{Name: "bad_locale", About: "a locale that is no language tag", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "locale",
		change: func(m *maker, o *model.Order) { o.Locale = m.pick([]string{"english", "en_US", ""}) }},
	{Name: "bad_date", About: "a date that is not RFC 3339", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "date_created",
		spoil: replace(`"date_created":"`, `"date_created":"26.11.2021 06:22","created":"`)},
	{Name: "milliseconds", About: "payment_dt in milliseconds", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "payment.payment_dt",
		change: func(_ *maker, o *model.Order) { o.Payment.PaymentDT *= 1000 }},
	{Name: "no_items", About: "an order of nothing", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "items",
		spoil: replace(`"items":[`, `"items":[],"goods":[`)},
	{Name: "too_many_items", About: "more items than an order may have", Stage: model.StageValidate, Reason: model.ReasonInvalid, Path: "items",
		change: func(_ *maker, o *model.Order) {
			for len(o.Items) <= model.DefaultMaxItems {
				o.Items = append(o.Items, o.Items[0])
			}
		}},
}

// prettyLines are what arrives when a pretty-printed order is sent line by line.
var prettyLines = []string{
	`{`, `  "order_uid": "b563feb7b2b84b6test",`, `  "delivery": {`, `    "name": "Test Testov",`, `  "items": [`, `  },`, `}`,
}

// replace puts text in the place of other text that every order's canonical
// JSON has, the first time it stands there.
func replace(old, with string) func(*maker, []byte) []byte {
	return func(_ *maker, v []byte) []byte { return bytes.Replace(v, []byte(old), []byte(with), 1) }
}
