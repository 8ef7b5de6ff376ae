package store

import (
	"encoding/binary"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

// The binary form of COPY, as the PostgreSQL manual describes it under COPY,
// "Binary Format": a header, a tuple a row with each field's length before its
// bytes, a trailer. Written by hand since it is what the worker does most: a
// general encoder asks for each value what it is.

const copyHeader = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// postgresEpoch is where PostgreSQL counts time from, in microseconds.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// copyBuffer collects rows. Its memory is used again after reset.
type copyBuffer struct{ bytes []byte }

func (b *copyBuffer) reset() { b.bytes = append(b.bytes[:0], copyHeader...) }

func (b *copyBuffer) row(fields int) {
	b.bytes = binary.BigEndian.AppendUint16(b.bytes, uint16(fields))
}

func (b *copyBuffer) text(s string) {
	b.bytes = binary.BigEndian.AppendUint32(b.bytes, uint32(len(s)))
	b.bytes = append(b.bytes, s...)
}

func (b *copyBuffer) bytea(v []byte) {
	b.bytes = binary.BigEndian.AppendUint32(b.bytes, uint32(len(v)))
	b.bytes = append(b.bytes, v...)
}

func (b *copyBuffer) bigint(n int64) {
	b.bytes = binary.BigEndian.AppendUint32(b.bytes, 8)
	b.bytes = binary.BigEndian.AppendUint64(b.bytes, uint64(n))
}

func (b *copyBuffer) integer(n int) {
	b.bytes = binary.BigEndian.AppendUint32(b.bytes, 4)
	b.bytes = binary.BigEndian.AppendUint32(b.bytes, uint32(n))
}

func (b *copyBuffer) timestamp(t time.Time) { b.bigint(t.UnixMicro() - postgresEpoch) }

func (b *copyBuffer) finish() []byte {
	b.bytes = binary.BigEndian.AppendUint16(b.bytes, 0xffff)
	return b.bytes
}

// rows are the four tables' rows of one transaction.
type rows struct{ orders, deliveries, payments, items copyBuffer }

// maxKeptBytes bounds what a rows keeps between transactions.
const maxKeptBytes = 8 << 20

func (r *rows) reset() {
	for _, b := range []*copyBuffer{&r.orders, &r.deliveries, &r.payments, &r.items} {
		if cap(b.bytes) > maxKeptBytes {
			b.bytes = nil
		}
		b.reset()
	}
}

// add appends an order's rows, in the order of the columns in copyStatements.
func (r *rows) add(o *model.Order, hash model.Hash) {
	b := &r.orders
	b.row(12)
	b.text(o.OrderUID)
	b.text(o.TrackNumber)
	b.text(o.Entry)
	b.text(o.Locale)
	b.text(o.InternalSignature)
	b.text(o.CustomerID)
	b.text(o.DeliveryService)
	b.text(o.ShardKey)
	b.bigint(o.SmID)
	b.timestamp(o.DateCreated)
	b.text(o.OofShard)
	b.bytea(hash[:])

	d := o.Delivery
	b = &r.deliveries
	b.row(8)
	b.text(o.OrderUID)
	b.text(d.Name)
	b.text(d.Phone)
	b.text(d.Zip)
	b.text(d.City)
	b.text(d.Address)
	b.text(d.Region)
	b.text(d.Email)

	p := o.Payment
	b = &r.payments
	b.row(11)
	b.text(o.OrderUID)
	b.text(p.Transaction)
	b.text(p.RequestID)
	b.text(p.Currency)
	b.text(p.Provider)
	b.bigint(p.Amount)
	b.bigint(p.PaymentDT)
	b.text(p.Bank)
	b.bigint(p.DeliveryCost)
	b.bigint(p.GoodsTotal)
	b.bigint(p.CustomFee)

	b = &r.items
	for i := range o.Items {
		item := &o.Items[i]
		b.row(13)
		b.text(o.OrderUID)
		b.integer(i)
		b.bigint(item.ChrtID)
		b.text(item.TrackNumber)
		b.bigint(item.Price)
		b.text(item.RID)
		b.text(item.Name)
		b.bigint(item.Sale)
		b.text(item.Size)
		b.bigint(item.TotalPrice)
		b.bigint(item.NmID)
		b.text(item.Brand)
		b.bigint(item.Status)
	}
}
