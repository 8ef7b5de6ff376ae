package page

import (
	"fmt"
	"slices"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

// order is an order as the page shows it, decoded from its canonical JSON. A part
// that the tables don't hold is null there and nil here.
type order struct {
	model.Order
	Masked    bool // its personal values are masks
	canonical []byte
}

// otherField is a field that an order does not have, with its value as JSON.
type otherField struct{ Path, Value string }

// OtherFields are the unknown fields that were kept of the order and its parts.
func (o *order) OtherFields() (all []otherField) {
	add := func(prefix string, unknown model.Unknown) {
		for name, value := range unknown.Fields() {
			all = append(all, otherField{prefix + name, value})
		}
	}
	add("", o.UnknownFields)
	if o.Delivery != nil {
		add("delivery.", o.Delivery.UnknownFields)
	}
	if o.Payment != nil {
		add("payment.", o.Payment.UnknownFields)
	}
	for i := range o.Items {
		add(fmt.Sprintf("items[%d].", i), o.Items[i].UnknownFields)
	}
	return all
}

// Currency is the payment's; without a payment it is "" and amounts are shown
// as stored.
func (o *order) Currency() string {
	if o.Payment == nil {
		return ""
	}
	return o.Payment.Currency
}

// Unit heads a column of amounts: the currency, or "minor units" where it is unknown.
func (o *order) Unit() string {
	if _, ok := exponent(o.Currency()); !ok {
		return "minor units"
	}
	return o.Currency()
}

// Money writes an amount in the order's currency.
func (o *order) Money(minor int64) string { return money(minor, o.Currency()) }

// Number is Money without the currency, for columns that name it once.
func (o *order) Number(minor int64) string { return number(minor, o.Currency()) }

// Total is the order's amount, or "" where no payment is stored.
func (o *order) Total() string {
	if o.Payment == nil {
		return ""
	}
	return o.Money(o.Payment.Amount)
}

// ItemCount is the number of items in words.
func (o *order) ItemCount() string {
	switch len(o.Items) {
	case 0:
		return "no items"
	case 1:
		return "1 item"
	}
	return fmt.Sprintf("%d items", len(o.Items))
}

// badge is a state in a word.
type badge struct{ Class, Word string }

// PaymentState is derived from the data: an order whose payment has a time was paid
// then.
func (o *order) PaymentState() badge {
	switch {
	case o.Payment == nil:
		return badge{"warn", "No payment stored"}
	case len(o.Differences()) > 0:
		return badge{"warn", "Sums differ"}
	case o.Payment.PaymentDT == 0:
		return badge{"", "Not paid yet"}
	case o.Payment.PaymentDT < 0 || o.PaidAt().IsZero():
		return badge{"", "No time of payment"}
	}
	return badge{"good", "Paid"}
}

// DeliveryState is derived from the data, which does not say whether a parcel has
// arrived.
func (o *order) DeliveryState() badge {
	switch {
	case o.Delivery == nil:
		return badge{"warn", "No delivery stored"}
	case o.TrackNumber == "":
		return badge{"", "No track number"}
	}
	return badge{"good", "Tracked"}
}

// itemState is how many items have a status. Only the shop knows what the numbers mean.
type itemState struct {
	Status int64
	Items  int
}

// ItemStates are the statuses of the items, in their order.
func (o *order) ItemStates() []itemState {
	var states []itemState
	for i := range o.Items {
		at := slices.IndexFunc(states, func(s itemState) bool { return s.Status == o.Items[i].Status })
		if at < 0 {
			at = len(states)
			states = append(states, itemState{Status: o.Items[i].Status})
		}
		states[at].Items++
	}
	return states
}

// Complete tells whether all parts of the order are stored.
func (o *order) Complete() bool {
	return o.Delivery != nil && o.Payment != nil && len(o.Items) > 0
}

// itemsSum is the sum of the items' total prices; ok is false where there are
// none or the sum doesn't fit.
func (o *order) itemsSum() (total int64, ok bool) {
	amounts := make([]int64, len(o.Items))
	for i := range o.Items {
		amounts[i] = o.Items[i].TotalPrice
	}
	total, ok = sum(amounts...)
	return total, ok && len(amounts) > 0
}

// ItemsSum writes the sum of the items' total prices, "" where there is none.
func (o *order) ItemsSum() string {
	total, ok := o.itemsSum()
	if !ok {
		return ""
	}
	return o.Number(total)
}

// Differences lists, in sentences, the sums of the order that do not add up. They are
// allowed unless the writer is set to refuse them, but support wants to see them.
func (o *order) Differences() []string {
	if o.Payment == nil {
		return nil
	}
	var out []string
	p := o.Payment
	if goods, ok := o.itemsSum(); ok && goods != p.GoodsTotal {
		out = append(out, fmt.Sprintf("The items add up to %s, the payment’s goods total is %s.", o.Money(goods), o.Money(p.GoodsTotal)))
	}
	if amount, ok := sum(p.GoodsTotal, p.DeliveryCost, p.CustomFee); ok && amount != p.Amount {
		out = append(out, fmt.Sprintf("Goods, delivery and customs add up to %s, the amount is %s.", o.Money(amount), o.Money(p.Amount)))
	}
	return out
}

// PaidAt is the payment's time. It is the zero time without a payment, of an order that is
// not paid yet, and where the stored number of seconds lies outside the years 1 to 9999, which a date
// can't show.
func (o *order) PaidAt() time.Time {
	const firstSecond, lastSecond = -62135596800, 253402300799
	if p := o.Payment; p != nil && p.PaymentDT != 0 && p.PaymentDT > firstSecond && p.PaymentDT <= lastSecond {
		return time.Unix(p.PaymentDT, 0).UTC()
	}
	return time.Time{}
}
