package changes

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/model"
)

// encode gives the orders that a joiner has put together to sink, on all
// processors.
func encode(ctx context.Context, group *errgroup.Group, j *joiner, sink Sink, progress func(done int64)) {
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
					canonical = model.AppendCanonical(canonical[:0], d.order(e))
					sink.Put(string(e.uid), canonical)
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

// order is valid until the next one, and as long as the entry's rows are left
// alone: its texts lie there.
func (d *entryDecoder) order(e *entry) *model.Order {
	f := e.fields(e.parts[ordersTable])
	d.decoded = model.Order{
		OrderUID: f.text(), TrackNumber: f.text(), Entry: f.text(), Locale: f.text(), InternalSignature: f.text(),
		CustomerID: f.text(), DeliveryService: f.text(), Shardkey: f.text(), SmID: f.integer(), DateCreated: f.time(),
		OofShard: f.text(),
	}
	if at := e.parts[deliveriesTable]; at.seen() {
		f := e.fields(at)
		f.next() // order_uid
		d.delivery = model.Delivery{
			Name: f.text(), Phone: f.text(), Zip: f.text(), City: f.text(), Address: f.text(), Region: f.text(), Email: f.text(),
		}
		d.decoded.Delivery = &d.delivery
	}
	if at := e.parts[paymentsTable]; at.seen() {
		f := e.fields(at)
		f.next()
		d.payment = model.Payment{
			Transaction: f.text(), RequestID: f.text(), Currency: f.text(), Provider: f.text(), Amount: f.integer(),
			PaymentDT: f.integer(), Bank: f.text(), DeliveryCost: f.integer(), GoodsTotal: f.integer(), CustomFee: f.integer(),
		}
		d.decoded.Payment = &d.payment
	}
	slices.SortFunc(e.items, func(a, b itemSpan) int { return a.position - b.position })
	d.items = d.items[:0]
	for _, item := range e.items {
		f := e.fields(item.span)
		f.next()
		f.next() // position
		d.items = append(d.items, model.Item{
			ChrtID: f.integer(), TrackNumber: f.text(), Price: f.integer(), RID: f.text(), Name: f.text(), Sale: f.integer(),
			Size: f.text(), TotalPrice: f.integer(), NmID: f.integer(), Brand: f.text(), Status: f.integer(),
		})
	}
	d.decoded.Items = d.items
	return &d.decoded
}

func (e *entry) fields(at span) fields { return fieldsOf(e.rows[at.from:at.to]) }
