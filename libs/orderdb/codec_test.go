package orderdb

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

// filled returns an order whose fields all have different values.
func filled(items int) *model.Order {
	o := &model.Order{Delivery: &model.Delivery{}, Payment: &model.Payment{}, Items: make([]model.Item, items)}
	n := 0
	fill := func(part any) {
		v := reflect.ValueOf(part).Elem()
		for i := range v.NumField() {
			n++
			switch f := v.Field(i).Addr().Interface().(type) {
			case *string:
				*f = fmt.Sprintf("%s %d", v.Type().Field(i).Name, n)
			case *int64:
				*f = int64(n) * 1_000_000_007
			case *time.Time:
				*f = time.Date(2021, 11, 26, 6, 22, 19, n*1000, time.UTC)
			}
		}
	}
	fill(o)
	fill(o.Delivery)
	fill(o.Payment)
	for i := range o.Items {
		fill(&o.Items[i])
	}
	return o
}

func TestColumnsHaveTheNamesAndOrderOfTheJSON(t *testing.T) {
	scalars := func(key []string, part reflect.Type) []string {
		names := key
		for field := range part.Fields() {
			name := field.Tag.Get("json")
			if field.Name == "UnknownFields" {
				name = "unknown_fields"
			}
			if _, stored := kinds[field.Type]; stored && name != key[0] {
				names = append(names, name)
			}
		}
		return names
	}
	require.Equal(t, scalars([]string{"order_uid"}, reflect.TypeFor[model.Order]()), Orders.Columns)
	require.Equal(t, scalars([]string{"order_uid"}, reflect.TypeFor[model.Delivery]()), Deliveries.Columns)
	require.Equal(t, scalars([]string{"order_uid"}, reflect.TypeFor[model.Payment]()), Payments.Columns)
	require.Equal(t, scalars([]string{"order_uid", "position"}, reflect.TypeFor[model.Item]()), Items.Columns)
	require.Equal(t, append(slices.Clone(Orders.Columns), "content_hash", "record_version", "record_time", "record_partition", "record_offset"), Orders.Stored)
	require.Equal(t, Items.Columns, Items.Stored)
	require.Equal(t, []string{"order_uid", "position"}, Items.Key)
}

func TestRowsAreDecodedAsTheyWereEncoded(t *testing.T) {
	o := filled(3)
	stamp := &model.Stamp{Time: time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC), Partition: 3, Offset: 700}
	var in CopyIn
	in.Add(filled(1), make([]byte, 32), nil)
	in.Reset()
	in.Add(o, []byte{1, 2, 3}, stamp)
	rows := func(table int) []RawRow {
		rest := in.tables[table]
		require.True(t, strings.HasPrefix(string(rest), copyHeader))
		return split(t, rest[len(copyHeader):])
	}
	decoded := &model.Order{Delivery: &model.Delivery{}, Payment: &model.Payment{}, Items: make([]model.Item, len(o.Items))}
	order := rows(0)
	require.Len(t, order, 1)
	Orders.Decode(order[0], decoded)
	fields := order[0].Fields()
	for range Orders.Columns {
		fields.Next()
	}
	require.Equal(t, []byte{1, 2, 3}, fields.Next()[:3], "the content hash comes behind the order")
	require.Nil(t, fields.Next(), "the record has no version of its own")
	require.Equal(t, stamp.Time.UnixMicro(), Integer(fields.Next())+postgresEpoch)
	require.Equal(t, []int64{3, 700}, []int64{Integer(fields.Next()), Integer(fields.Next())})
	require.Empty(t, fields)
	Deliveries.Decode(rows(1)[0], decoded.Delivery)
	Payments.Decode(rows(2)[0], decoded.Payment)
	for i, row := range rows(3) {
		fields := row.Fields()
		require.Equal(t, o.OrderUID, string(fields.Next()))
		require.EqualValues(t, i, Integer(fields.Next()))
		Items.Decode(row, &decoded.Items[i])
	}
	require.Equal(t, o, decoded)
	require.Equal(t, o, FromModel(o, nil).ToModel())
}

// split cuts rows that lie end to end.
func split(t testing.TB, data []byte) (rows []RawRow) {
	for len(data) > 0 {
		end := 2
		for range binary.BigEndian.Uint16(data) {
			if length := int32(binary.BigEndian.Uint32(data[end:])); length > 0 {
				end += int(length)
			}
			end += 4
		}
		rows, data = append(rows, data[:end:end]), data[end:]
	}
	return rows
}

func TestARawRowKeepsNullApartFromEmpty(t *testing.T) {
	fields := AppendRaw(nil, [][]byte{nil, {}, {0, 0, 0, 7}}).Fields()
	require.Nil(t, fields.Next())
	require.NotNil(t, fields.Next())
	require.EqualValues(t, 7, Integer(fields.Next()))
	require.Empty(t, fields)
}

// The benchmarks' yardstick is what a person would write by hand for these columns.

func BenchmarkCopyIn(b *testing.B) {
	o := filled(1)
	b.Run("derived", func(b *testing.B) {
		var in CopyIn
		for i := range b.N {
			if i%1000 == 0 {
				in.Reset()
			}
			in.Add(o, make([]byte, 32), nil)
		}
	})
	b.Run("by hand", func(b *testing.B) {
		var in byHand
		for i := range b.N {
			if i%1000 == 0 {
				in = byHand{in[0][:0], in[1][:0], in[2][:0], in[3][:0]}
			}
			in.add(o, model.Hash{})
		}
	})
}

type byHand [4]handBuffer

type handBuffer []byte

func (b *handBuffer) row(fields int) { *b = binary.BigEndian.AppendUint16(*b, uint16(fields)) }

func (b *handBuffer) text(s string) {
	*b = binary.BigEndian.AppendUint32(*b, uint32(len(s)))
	*b = append(*b, s...)
}

func (b *handBuffer) bigint(n int64) {
	*b = binary.BigEndian.AppendUint32(*b, 8)
	*b = binary.BigEndian.AppendUint64(*b, uint64(n))
}

func (h *byHand) add(o *model.Order, hash model.Hash) {
	b := &h[0]
	b.row(12)
	b.text(o.OrderUID)
	b.text(o.TrackNumber)
	b.text(o.Entry)
	b.text(o.Locale)
	b.text(o.InternalSignature)
	b.text(o.CustomerID)
	b.text(o.DeliveryService)
	b.text(o.Shardkey)
	b.bigint(o.SmID)
	b.bigint(o.DateCreated.UnixMicro() - postgresEpoch)
	b.text(o.OofShard)
	b.text(string(hash[:]))
	d := o.Delivery
	b = &h[1]
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
	b = &h[2]
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
	b = &h[3]
	for i := range o.Items {
		item := &o.Items[i]
		b.row(13)
		b.text(o.OrderUID)
		*b = binary.BigEndian.AppendUint32(*b, 4)
		*b = binary.BigEndian.AppendUint32(*b, uint32(i))
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

func BenchmarkDecode(b *testing.B) {
	var in CopyIn
	in.Add(filled(1), make([]byte, 32), nil)
	row := split(b, in.tables[2][len(copyHeader):])[0]
	var p model.Payment
	b.Run("derived", func(b *testing.B) {
		for range b.N {
			Payments.Decode(row, &p)
		}
	})
	b.Run("by hand", func(b *testing.B) {
		for range b.N {
			f := row.Fields()
			f.Next()
			p = model.Payment{
				Transaction: handText(&f), RequestID: handText(&f), Currency: handText(&f), Provider: handText(&f),
				Amount: Integer(f.Next()), PaymentDT: Integer(f.Next()), Bank: handText(&f), DeliveryCost: Integer(f.Next()),
				GoodsTotal: Integer(f.Next()), CustomFee: Integer(f.Next()),
			}
		}
	})
}

func handText(f *Fields) string {
	value := f.Next()
	return unsafe.String(unsafe.SliceData(value), len(value))
}
