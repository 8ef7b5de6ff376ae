package orders

import (
	"math"
	"strings"
	"sync"

	"github.com/orderhub/orderhub/libs/model"
)

// row is what the lists know of an order beside its record: what they are sorted by, and
// enough to pass over most orders that a filter does not want. It is 40 bytes.
type row struct {
	created         int64  // in microseconds since 1970
	uid             uint64 // the cache's hash of the order_uid
	check           uint32 // another hash of it: the two together stand for it
	customer, track uint32 // hashes
	amount          uint32 // as clamped has it
	delivery        uint16 // numbers of names
	locale          uint16
	currency        uint16 // "" without a payment
}

// rowOf is an order's row. Only with add do new names get numbers.
func (x *index) rowOf(o *model.Order, add bool) row {
	r := row{
		created: o.DateCreated.UnixMicro(), uid: x.cache.Hash(o.OrderUID), check: x.check(o.OrderUID),
		customer: x.hash(o.CustomerID), track: x.hash(o.TrackNumber),
		delivery: x.names.number(o.DeliveryService, add), locale: x.names.number(o.Locale, add),
	}
	currency := ""
	if o.Payment != nil {
		currency, r.amount = o.Payment.Currency, clamped(o.Payment.Amount)
	}
	r.currency = x.names.number(currency, add)
	return r
}

// clamped is an amount in 32 bits: of two, the larger one's is never the smaller.
func clamped(amount int64) uint32 { return uint32(max(0, min(amount, math.MaxUint32))) }

// names numbers the values of fields that have few different ones. The first have numbers
// from 1, and the others 0.
type names struct {
	mu      sync.RWMutex
	numbers map[string]uint16
}

const maxNames = 20_000 // however long they are, these are few MiB

func (n *names) number(name string, add bool) uint16 {
	n.mu.RLock()
	number := n.numbers[name]
	n.mu.RUnlock()
	if number > 0 || !add {
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
	row
	min, max                        uint32 // of the amount
	deliveries, locales, currencies []uint16
}

// wanted returns false if no order has any of the names that the filter asks for.
func (x *index) wanted(f Filter) (w wanted, possible bool) {
	w = wanted{Filter: f, row: row{customer: x.hash(f.CustomerID), track: x.hash(f.TrackNumber)}, max: math.MaxUint32}
	if f.AmountMin != nil {
		w.min = clamped(*f.AmountMin)
	}
	if f.AmountMax != nil {
		w.max = clamped(*f.AmountMax)
	}
	possible = true
	full := x.names.full()
	numbers := func(names []string) (numbers []uint16) {
		for _, name := range names {
			if number := x.names.number(name, false); number > 0 || full {
				numbers = append(numbers, number)
			}
		}
		possible = possible && (len(numbers) > 0 || len(names) == 0)
		return numbers
	}
	w.deliveries, w.locales, w.currencies = numbers(f.DeliveryServices), numbers(f.Locales), numbers(f.Currencies)
	return w, possible
}

func (n *names) full() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.numbers) >= maxNames
}

// may tells whether an order with a row may match: its record has the answer.
func (w *wanted) may(r *row) bool {
	return (w.CustomerID == "" || r.customer == w.customer) && (w.TrackNumber == "" || r.track == w.track) &&
		in(w.deliveries, r.delivery) && in(w.locales, r.locale) && in(w.currencies, r.currency) && r.amount >= w.min && r.amount <= w.max
}
