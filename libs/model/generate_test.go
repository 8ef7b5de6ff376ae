package model

import (
	"time"

	"pgregory.net/rapid"
)

// Texts that tempt encoders and rules.
var oddTexts = []string{
	"", " ", "a", "-", ".", "\"", "\\", "/", "<>&", "\b\f\n\r\t", "\x01\x1f\x7f", "\u0085\u2028\u2029", "\ufeff", "\uffff",
	"ж", "e\u0301", "\U0001f600", "\U0010ffff", "\x00", "a\x00b", "\xff", "a\xc3", "\xed\xa0\x80", "null",
	"en", "en-US", "en_US", "USD", "usd", "+79161234567", "79161234567", "a@b.cd", "a@b", "2021-11-26T06:22:19Z",
}

var oddNumbers = []int64{
	0, 1, -1, 99, 100, 101, 1637907727, 1637907727000, MaxPaymentDT, MaxPaymentDT + 1, MaxInteger, MaxInteger + 1, 1<<63 - 1, -1 << 63,
}

// anyText draws any text, UTF-8 or not.
func anyText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom(oddTexts),
		rapid.String(),
		rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")) }),
		rapid.Custom(func(t *rapid.T) string {
			unit := rapid.SampledFrom([]string{"x", "ж", "\U0001f600"}).Draw(t, "unit")
			n := rapid.SampledFrom([]int{31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025}).Draw(t, "length")
			var b []byte
			for range n {
				b = append(b, unit...)
			}
			return string(b)
		}),
	)
}

// goodText draws what may stand in a required text of 32 characters.
func goodText() *rapid.Generator[string] {
	return rapid.StringMatching(`[^\x00]{1,32}`).Filter(isText)
}

func anyNumber() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.SampledFrom(oddNumbers), rapid.Int64())
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return time.Date(rapid.IntRange(-1, 10001).Draw(t, "year"), time.Month(rapid.IntRange(1, 12).Draw(t, "month")),
			rapid.IntRange(1, 31).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), 0, 0, rapid.IntRange(0, 999_999_999).Draw(t, "ns"),
			time.FixedZone("", rapid.IntRange(-86399, 86399).Draw(t, "zone")))
	})
}

// validOrder draws an order that breaks no rule.
func validOrder() *rapid.Generator[*Order] {
	return rapid.Custom(func(t *rapid.T) *Order {
		o := sampleOrder()
		o.OrderUID = rapid.StringMatching(`[A-Za-z0-9._-]{1,64}`).Filter(IsOrderUID).Draw(t, "order_uid")
		for range rapid.IntRange(0, 5).Draw(t, "more items") {
			o.Items = append(o.Items, o.Items[0])
		}
		o.DateCreated = toMicrosecond(anyTime().Filter(isInYearRange).Draw(t, "date_created"))
		for _, at := range plainTexts(o) {
			*at = goodText().Draw(t, "text")
		}
		for i := range o.Items {
			o.Items[i].Sale = rapid.Int64Range(0, 100).Draw(t, "sale")
			o.Items[i].ChrtID = rapid.Int64Range(0, MaxInteger).Draw(t, "chrt_id")
			o.Items[i].Price = rapid.Int64Range(0, MaxInteger).Draw(t, "price")
		}
		return o
	})
}

// plainTexts are the texts of an order whose characters no rule restricts.
func plainTexts(o *Order) []*string {
	restricted := map[*string]bool{
		&o.OrderUID: true, &o.Delivery.Phone: true, &o.Delivery.Email: true, &o.Payment.Currency: true, &o.Locale: true,
	}
	texts, _ := members(o)
	var plain []*string
	for _, at := range texts {
		if !restricted[at] {
			plain = append(plain, at)
		}
	}
	return plain
}

// members gives all texts and numbers of an order and its parts.
func members(o *Order) (texts []*string, numbers []*int64) {
	texts, numbers = membersOf(texts, numbers, o, orderFields)
	if o.Delivery != nil {
		texts, numbers = membersOf(texts, numbers, o.Delivery, deliveryFields)
	}
	if o.Payment != nil {
		texts, numbers = membersOf(texts, numbers, o.Payment, paymentFields)
	}
	for i := range o.Items {
		texts, numbers = membersOf(texts, numbers, &o.Items[i], itemFields)
	}
	return texts, numbers
}

func membersOf[T any](texts []*string, numbers []*int64, v *T, fields []field[T]) ([]*string, []*int64) {
	for _, f := range fields {
		if f.text != nil {
			texts = append(texts, f.text(v))
		}
		if f.number != nil {
			numbers = append(numbers, f.number(v))
		}
	}
	return texts, numbers
}

// anyOrder draws a valid order and then breaks some of it, or nothing.
func anyOrder() *rapid.Generator[*Order] {
	return rapid.Custom(func(t *rapid.T) *Order {
		o := validOrder().Draw(t, "order")
		texts, numbers := members(o)
		for range rapid.IntRange(0, 2).Draw(t, "changed texts") {
			*texts[rapid.IntRange(0, len(texts)-1).Draw(t, "text")] = anyText().Draw(t, "to")
		}
		for range rapid.IntRange(0, 2).Draw(t, "changed numbers") {
			*numbers[rapid.IntRange(0, len(numbers)-1).Draw(t, "number")] = anyNumber().Draw(t, "to")
		}
		switch rapid.IntRange(0, 15).Draw(t, "part") {
		case 0:
			o.Delivery = nil
		case 1:
			o.Payment = nil
		case 2:
			o.Items = nil
		case 3:
			o.Items = []Item{}
		case 4:
			o.DateCreated = anyTime().Draw(t, "date")
		}
		return o
	})
}
