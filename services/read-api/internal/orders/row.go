package orders

import (
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// row is what the lists know of an order beside its record: what they are sorted by, and
// enough to pass over most orders that a filter does not want. It is 40 bytes. A row never
// changes: a new version of an order gets another.
type row struct {
	created  int64     // in microseconds since 1970
	uid      uint64    // the cache's hash of the order_uid, which stands for it
	version  uint32    // a hash of the record's entity tag
	amount   uint32    // as clamped has it
	updated  uint32    // in seconds since 1970; 0: not known
	delivery uint16    // numbers of names
	locale   uint16    // "
	currency uint16    // "; that of "" without a payment
	items    [3]uint16 // ", of the items' brands and statuses; the last one is manyNames if there are more
}

// clamped is an amount in 32 bits: of two, the larger one's is never the smaller.
func clamped(amount int64) uint32 { return uint32(max(0, min(amount, math.MaxUint32))) }

const manyNames = math.MaxUint16

func (r *row) many() bool { return r.items[len(r.items)-1] == manyNames }

// The fields whose values have posts. Hashes of different fields' values differ.
const (
	customerField uint32 = iota
	trackField
	emailField
	phoneField
	nameField
	nmIDField
)

// A post is an order's row under a value of a field: an item with the value's last byte above
// the handle. The rest of the value is the leaf's head.
func newPost(value uint32, h handle) item { return newItem(byte(value), h) }

func headOf(value uint32) uint16 { return uint16(value >> 8) }

func valueOf(head uint16, post item) uint32 { return uint32(head)<<8 | uint32(post.above()) }

// rowOf is an order's row, and the values under which it has posts. Only with add do new
// names get numbers.
func (x *index) rowOf(o *model.Order, record cache.Record) (row, []uint32) {
	r := row{
		created: o.DateCreated.UnixMicro(), uid: x.cache.Hash(o.OrderUID), version: x.version(record),
		updated: record.Updated(), delivery: x.names.add(o.DeliveryService), locale: x.names.add(o.Locale),
	}
	currency := ""
	if o.Payment != nil {
		currency, r.amount = o.Payment.Currency, clamped(o.Payment.Amount)
	}
	r.currency = x.names.add(currency)
	values := make([]uint32, 0, 5+len(o.Items))
	add := func(field uint32, text string) {
		if value := x.value(field, text); !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	add(customerField, o.CustomerID)
	add(trackField, o.TrackNumber)
	if d := o.Delivery; d != nil {
		add(emailField, NormalText(d.Email))
		add(phoneField, NormalPhone(d.Phone))
		add(nameField, NormalText(d.Name))
	}
	names := 0
	name := func(number uint16) {
		switch {
		case slices.Contains(r.items[:min(names, len(r.items))], number):
			return
		case names < len(r.items):
			r.items[names] = number
		default:
			r.items[len(r.items)-1] = manyNames
		}
		names++
	}
	for i := range o.Items {
		item := &o.Items[i]
		name(x.names.add(item.Brand))
		name(x.names.add(statusName(item.Status)))
		add(nmIDField, strconv.FormatInt(item.NmID, 10))
	}
	return r, values
}

// value is a hash of a field's value, of 24 bits: among ten million orders, some three values
// share one, which takes less time than longer hashes take memory.
func (x *index) value(field uint32, text string) uint32 {
	return (x.hash(text) ^ field*0x9E3779B1) >> 8
}

func statusName(status int64) string { return "status " + strconv.FormatInt(status, 10) }

// version tells versions of an order apart.
func (x *index) version(record cache.Record) uint32 {
	return uint32(maphash.String(x.seed, record.ETag()))
}

// names numbers the values of fields that have few different ones. The first have numbers
// from 1, and the others 0.
type names struct {
	mu      sync.RWMutex
	numbers map[string]uint16
}

const maxNames = 20_000 // however long they are, these are few MiB

// number returns a name's number. possible is false if no order has it.
func (n *names) number(name string) (number uint16, possible bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	number = n.numbers[name]
	return number, number > 0 || len(n.numbers) >= maxNames
}

func (n *names) add(name string) uint16 {
	if number, _ := n.number(name); number > 0 {
		return number
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, there := n.numbers[name]; !there && len(n.numbers) < maxNames {
		n.numbers[strings.Clone(name)] = uint16(len(n.numbers) + 1)
	}
	return n.numbers[name]
}

// wanted is a filter as rows are compared with it.
type wanted struct {
	Filter
	delivery, locale, currency, brand, status []uint16 // numbers, any of which a row has; nil: whatever it has
	amountMin, amountMax                      uint32
	updatedMin, updatedMax                    uint32
	from, to                                  int64      // created, both included
	values                                    [][]uint32 // an order has a post of one of each
	none                                      uint16     // the currency of orders without a payment
}

// wanted returns false if no order matches.
func (x *index) wanted(f Filter) (w wanted, possible bool) {
	w = wanted{Filter: f, amountMax: math.MaxUint32, from: math.MinInt64, to: math.MaxInt64, none: x.names.add("")}
	if f.AmountMin != nil {
		w.amountMin = clamped(*f.AmountMin)
	}
	if f.AmountMax != nil {
		w.amountMax = clamped(*f.AmountMax)
	}
	w.updatedMin, w.updatedMax = f.updated()
	if f.CreatedFrom != nil {
		w.from = f.CreatedFrom.UnixMicro()
	}
	if f.CreatedTo != nil {
		w.to = f.CreatedTo.UnixMicro()
	}
	possible = true
	numbers := func(names []string) (numbers []uint16) {
		for _, name := range names {
			if number, can := x.names.number(name); can {
				numbers = append(numbers, number)
			}
		}
		possible = possible && (len(names) == 0 || len(numbers) > 0)
		return numbers
	}
	var statuses []string
	for _, status := range f.Statuses {
		statuses = append(statuses, statusName(status))
	}
	w.delivery, w.locale, w.currency = numbers(f.DeliveryServices), numbers(f.Locales), numbers(f.Currencies)
	w.brand, w.status = numbers(f.Brands), numbers(statuses)
	for field, text := range []string{customerField: f.CustomerID, trackField: f.TrackNumber, emailField: f.Email, phoneField: f.Phone, nameField: f.Name} {
		if text != "" {
			w.values = append(w.values, []uint32{x.value(uint32(field), text)})
		}
	}
	var ids []uint32
	for _, id := range f.NmIDs {
		ids = append(ids, x.value(nmIDField, strconv.FormatInt(id, 10)))
	}
	if ids != nil {
		slices.Sort(ids)
		w.values = append(w.values, slices.Compact(ids))
	}
	return w, possible
}

// may tells whether an order with a row may match: its record has the answer.
func (w *wanted) may(r *row) bool {
	has := func(wanted []uint16, number uint16) bool { return wanted == nil || slices.Contains(wanted, number) }
	hasItem := func(wanted []uint16) bool {
		return wanted == nil || r.many() || slices.ContainsFunc(r.items[:], func(number uint16) bool { return slices.Contains(wanted, number) })
	}
	return r.amount >= w.amountMin && r.amount <= w.amountMax && r.created >= w.from && r.created <= w.to &&
		r.updated >= w.updatedMin && r.updated <= w.updatedMax &&
		has(w.delivery, r.delivery) && has(w.locale, r.locale) && has(w.currency, r.currency) && hasItem(w.brand) && hasItem(w.status) &&
		(r.currency != w.none || !w.needsPayment())
}

// mayHave tells whether a zone's rows may match.
func (w *wanted) mayHave(z *zone) bool {
	has := func(wanted []uint16) bool { return wanted == nil || slices.ContainsFunc(wanted, z.hasName) }
	return z.amountMax >= w.amountMin && z.amountMin <= w.amountMax && z.createdMax >= w.from && z.createdMin <= w.to &&
		z.updatedMax >= w.updatedMin && z.updatedMin <= w.updatedMax &&
		has(w.delivery) && has(w.locale) && has(w.currency) && (z.many || has(w.brand) && has(w.status))
}

// tells says whether may has the answer.
func (w *wanted) tells(r *row) bool { return !w.needsDelivery() && w.tellsRest(r) }

// tellsRest says whether may has the answer where the delivery is as wanted.
func (w *wanted) tellsRest(r *row) bool {
	return w.CustomerID+w.TrackNumber == "" && w.NmIDs == nil && (w.brand == nil && w.status == nil || !r.many()) &&
		w.amountMin < math.MaxUint32 && (w.amountMax < math.MaxUint32 || w.AmountMax == nil) &&
		!slices.Contains(slices.Concat(w.delivery, w.locale, w.currency, w.brand, w.status), 0)
}
