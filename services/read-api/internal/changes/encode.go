package changes

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// encode gives put the orders that a joiner has put together. It uses all
// processors.
func encode(ctx context.Context, group *errgroup.Group, j *joiner, put func(Order) error, progress func(done int64)) {
	var done atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			var d entryDecoder
			var canonical []byte
			for batch := range j.whole {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				for _, e := range batch {
					order := d.order(e)
					canonical = model.AppendCanonical(canonical[:0], order)
					if err := put(Order{Order: order, Canonical: canonical, Updated: e.updated()}); err != nil {
						return err
					}
				}
				progress(done.Add(int64(len(batch))))
				select {
				case j.used <- batch:
				default: // there are enough
				}
			}
			return nil
		})
	}
}

// entryDecoder decodes one order after another into the same memory.
type entryDecoder struct {
	decoded  model.Order
	delivery model.Delivery
	payment  model.Payment
	items    []model.Item
}

// order is valid until the next call, and as long as the entry's rows, which hold its
// texts, are not changed.
func (d *entryDecoder) order(e *entry) *model.Order {
	d.decoded.Delivery, d.decoded.Payment = nil, nil
	orderdb.Orders.Decode(e.row(e.parts[ordersTable]), &d.decoded)
	if at := e.parts[deliveriesTable]; at.seen() {
		orderdb.Deliveries.Decode(e.row(at), &d.delivery)
		d.decoded.Delivery = &d.delivery
	}
	if at := e.parts[paymentsTable]; at.seen() {
		orderdb.Payments.Decode(e.row(at), &d.payment)
		d.decoded.Payment = &d.payment
	}
	slices.SortFunc(e.items, func(a, b itemSpan) int { return a.position - b.position })
	d.items = slices.Grow(d.items[:0], len(e.items))[:len(e.items)]
	for i, item := range e.items {
		orderdb.Items.Decode(e.row(item.span), &d.items[i])
	}
	d.decoded.Items = d.items
	return &d.decoded
}

// updated is Order.Updated, of the row's last column.
func (e *entry) updated() uint32 {
	row := e.row(e.parts[ordersTable])
	return secondsOf(row[len(row)-8:])
}

func (e *entry) row(at span) orderdb.RawRow { return e.rows[at.from:at.to] }
