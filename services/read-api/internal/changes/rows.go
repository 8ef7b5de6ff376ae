package changes

import (
	"encoding/binary"
	"strings"
	"time"
	"unsafe"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// The tables are read in PostgreSQL's binary format, straight from the
// connection's buffer: a restore of millions of orders spends its time here.
var (
	ordersColumns     = strings.Join(orderdb.Orders.Columns, ", ")
	deliveriesColumns = strings.Join(orderdb.Deliveries.Columns, ", ")
	paymentsColumns   = strings.Join(orderdb.Payments.Columns, ", ")
	itemsColumns      = strings.Join(orderdb.Items.Columns, ", ")
)

// part is a row of one of the tables, by the order that it belongs to.
type part[T any] struct {
	uid   string
	value T
}

// decoder turns a row's raw values into what it stands for.
type decoder[T any] func(*row) T

func decodeOrder(r *row) part[*model.Order] {
	o := &model.Order{
		OrderUID: r.text(), TrackNumber: r.text(), Entry: r.text(), Locale: r.text(), InternalSignature: r.text(),
		CustomerID: r.text(), DeliveryService: r.text(), Shardkey: r.text(), SmID: r.integer(), DateCreated: r.time(),
		OofShard: r.text(),
	}
	return part[*model.Order]{o.OrderUID, o}
}

func decodeDelivery(r *row) part[*model.Delivery] {
	return part[*model.Delivery]{r.text(), &model.Delivery{
		Name: r.text(), Phone: r.text(), Zip: r.text(), City: r.text(), Address: r.text(), Region: r.text(), Email: r.text(),
	}}
}

func decodePayment(r *row) part[*model.Payment] {
	return part[*model.Payment]{r.text(), &model.Payment{
		Transaction: r.text(), RequestID: r.text(), Currency: r.text(), Provider: r.text(), Amount: r.integer(),
		PaymentDT: r.integer(), Bank: r.text(), DeliveryCost: r.integer(), GoodsTotal: r.integer(), CustomFee: r.integer(),
	}}
}

func decodeItem(r *row) part[model.Item] {
	uid := r.text()
	_ = r.integer() // the position: the query sorts by it
	return part[model.Item]{uid, model.Item{
		ChrtID: r.integer(), TrackNumber: r.text(), Price: r.integer(), RID: r.text(), Name: r.text(), Sale: r.integer(),
		Size: r.text(), TotalPrice: r.integer(), NmID: r.integer(), Brand: r.text(), Status: r.integer(),
	}}
}

func decodeUID(r *row) string { return r.text() }

// row hands out a row's values one after another. All of its texts share one
// allocation.
type row struct {
	raw    [][]byte
	copied string // all values, end to end
	next   int
	offset int
	buffer []byte
}

// load takes the next row; raw is not kept.
func (r *row) load(raw [][]byte) {
	r.buffer = r.buffer[:0]
	for _, value := range raw {
		r.buffer = append(r.buffer, value...)
	}
	r.raw, r.copied, r.next, r.offset = raw, string(r.buffer), 0, 0
}

func (r *row) text() string {
	length := len(r.raw[r.next])
	text := r.copied[r.offset : r.offset+length]
	r.next++
	r.offset += length
	return text
}

func (r *row) integer() int64 {
	value := r.raw[r.next]
	r.next++
	r.offset += len(value)
	if len(value) == 4 {
		return int64(int32(binary.BigEndian.Uint32(value)))
	}
	return int64(binary.BigEndian.Uint64(value))
}

// time reads microseconds since 2000. The table takes no infinite dates.
func (r *row) time() time.Time { return timeOf(r.integer()) }

func timeOf(microseconds int64) time.Time {
	const year2000 = 946684800_000000
	return time.UnixMicro(microseconds + year2000).UTC()
}

// fields is what is left of a row in COPY's binary form.
type fields []byte

// fieldsOf starts at a row's first field.
func fieldsOf(row []byte) fields { return fields(row[2:]) }

// next is a field's bytes in the row; none where it is NULL, which our schema
// doesn't allow.
func (f *fields) next() []byte {
	length := int32(binary.BigEndian.Uint32(*f))
	*f = (*f)[4:]
	if length < 0 {
		return nil
	}
	value := (*f)[:length]
	*f = (*f)[length:]
	return value
}

// text is valid as long as the row's bytes are left alone.
func (f *fields) text() string {
	value := f.next()
	return unsafe.String(unsafe.SliceData(value), len(value))
}

func (f *fields) integer() int64 {
	switch value := f.next(); len(value) {
	case 8:
		return int64(binary.BigEndian.Uint64(value))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(value)))
	default:
		return 0
	}
}

func (f *fields) time() time.Time { return timeOf(f.integer()) }

// arrayLiteral writes texts as PostgreSQL's text[].
func arrayLiteral(texts []string) []byte {
	size := 2
	for _, text := range texts {
		size += len(text) + 3
	}
	array := append(make([]byte, 0, size), '{')
	for i, text := range texts {
		if i > 0 {
			array = append(array, ',')
		}
		array = append(array, '"')
		for _, c := range []byte(text) {
			if c == '"' || c == '\\' {
				array = append(array, '\\')
			}
			array = append(array, c)
		}
		array = append(array, '"')
	}
	return append(array, '}')
}
