package orderdb

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/orderhub/orderhub/libs/model"
)

const (
	// copyHeader is the signature, no flags and no extension.
	copyHeader  = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	copyTrailer = "\xff\xff"
	// maxKeptBytes is how much of a buffer's memory Reset keeps for later.
	maxKeptBytes = 8 << 20
)

// CopyInStatement is the COPY that takes the rows of a [CopyIn].
func (t *Table) CopyInStatement() string {
	return "COPY " + t.Name + " (" + strings.Join(t.Stored, ", ") + ") FROM STDIN BINARY"
}

// CopyIn collects orders as the rows that COPY writes into the four tables. The
// zero value is empty. It is not safe for concurrent use.
type CopyIn struct {
	tables [len(Tables)][]byte // in the order of Tables: a header and rows

	// The tables' columns that are written.
	orders     Rows[Order, model.Order]
	deliveries Rows[Delivery, model.Delivery]
	payments   Rows[Payment, model.Payment]
	items      Rows[Item, model.Item]

	// The keys of the rows that are being added.
	order    Order
	delivery Delivery
	payment  Payment
	item     Item
}

// LeaveOut says which columns are not there yet (see [Absent]), before the first order is
// added.
func (c *CopyIn) LeaveOut(absent []string) {
	c.orders, c.deliveries = Orders.without(absent), Deliveries.without(absent)
	c.payments, c.items = Payments.without(absent), Items.without(absent)
}

// Reset removes all orders. Their memory is used for the next ones.
func (c *CopyIn) Reset() {
	for i := range c.tables {
		if cap(c.tables[i]) > maxKeptBytes {
			c.tables[i] = nil
		}
		c.tables[i] = c.tables[i][:0]
	}
}

// Add adds an order that has all its parts, with the content hash of its record, and the
// record's stamp; nil for none.
func (c *CopyIn) Add(o *model.Order, hash []byte, stamp *model.Stamp) {
	if len(c.tables[0]) == 0 {
		for i := range c.tables {
			c.tables[i] = append(c.tables[i], copyHeader...)
		}
	}
	if c.orders.Table == nil {
		c.orders, c.deliveries, c.payments, c.items = Orders, Deliveries, Payments, Items
	}
	c.order.ContentHash = hash
	c.order.Stamp(stamp)
	c.delivery.OrderUID, c.payment.OrderUID, c.item.OrderUID = o.OrderUID, o.OrderUID, o.OrderUID
	c.tables[0] = c.orders.AppendRow(c.tables[0], &c.order, o)
	c.tables[1] = c.deliveries.AppendRow(c.tables[1], &c.delivery, o.Delivery)
	c.tables[2] = c.payments.AppendRow(c.tables[2], &c.payment, o.Payment)
	for i := range o.Items {
		c.item.Position = int32(i)
		c.tables[3] = c.items.AppendRow(c.tables[3], &c.item, &o.Items[i])
	}
}

// Data returns what each of the Tables is to be sent, complete with COPY's header and
// trailer. It is valid until Add or Reset is called.
func (c *CopyIn) Data() (data [len(Tables)][]byte) {
	for i, rows := range c.tables {
		data[i] = append(rows, copyTrailer...)
		c.tables[i] = data[i][:len(rows)] // which keeps what the trailer made room for
	}
	return data
}

// Send copies the rows into the tables, in the transaction that the connection is
// in. It may be called again with the same rows.
func (c *CopyIn) Send(ctx context.Context, conn *pgconn.PgConn) error {
	if len(c.tables[0]) == 0 {
		return nil
	}
	tables := [...]*Table{c.orders.Table, c.deliveries.Table, c.payments.Table, c.items.Table}
	for i, data := range c.Data() {
		if _, err := conn.CopyFrom(ctx, bytes.NewReader(data), tables[i].CopyInStatement()); err != nil {
			return fmt.Errorf("copy into %s: %w", tables[i].Name, err)
		}
	}
	return nil
}
