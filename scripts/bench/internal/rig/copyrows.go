package rig

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// copyStatements are in the order of the foreign keys, as encodeRows is.
var copyStatements = [...]string{
	copyStatement("orders", append(slices.Clone(orderdb.OrdersColumns), "content_hash")),
	copyStatement("deliveries", orderdb.DeliveriesColumns),
	copyStatement("payments", orderdb.PaymentsColumns),
	copyStatement("items", orderdb.ItemsColumns),
}

func copyStatement(table string, columns []string) string {
	return "COPY " + table + " (" + strings.Join(columns, ", ") + ") FROM STDIN BINARY"
}

// encodeRows gives each table's rows of the orders in COPY's binary form (see
// the PostgreSQL manual under COPY).
func encodeRows(orders []*model.Order) (data [len(copyStatements)][]byte) {
	for i := range data {
		data[i] = append(data[i], "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	}
	var canonical []byte
	for _, o := range orders {
		canonical = model.AppendCanonical(canonical[:0], o)
		hash := model.ContentHash(canonical)
		d, p := o.Delivery, o.Payment
		data[0] = row(data[0], o.OrderUID, o.TrackNumber, o.Entry, o.Locale, o.InternalSignature, o.CustomerID,
			o.DeliveryService, o.ShardKey, o.SmID, o.DateCreated, o.OofShard, string(hash[:]))
		data[1] = row(data[1], o.OrderUID, d.Name, d.Phone, d.Zip, d.City, d.Address, d.Region, d.Email)
		data[2] = row(data[2], o.OrderUID, p.Transaction, p.RequestID, p.Currency, p.Provider, p.Amount,
			p.PaymentDT, p.Bank, p.DeliveryCost, p.GoodsTotal, p.CustomFee)
		for i, item := range o.Items {
			data[3] = row(data[3], o.OrderUID, int32(i), item.ChrtID, item.TrackNumber, item.Price, item.RID, item.Name,
				item.Sale, item.Size, item.TotalPrice, item.NmID, item.Brand, item.Status)
		}
	}
	for i := range data {
		data[i] = append(data[i], 0xff, 0xff)
	}
	return data
}

// postgresEpoch is where PostgreSQL counts microseconds from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func row(b []byte, values ...any) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(values)))
	for _, value := range values {
		switch v := value.(type) {
		case string:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v))
		case int32:
			b = binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(v))
		case time.Time:
			b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v.UnixMicro()-postgresEpoch.UnixMicro()))
		default:
			panic("rig: no such column type")
		}
	}
	return b
}
