package rig

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// sampleSize is how many orders are kept decoded.
const sampleSize = 10_000

// Orders are synthetic orders: in a topic, and as rows ready for COPY.
type Orders struct {
	Topic string
	Count int
	Items int
	// Sample holds the first orders, Values their records.
	Sample []*model.Order
	Values [][]byte
	// Bytes is the size of all records' values.
	Bytes int64

	batches []*orderdb.CopyIn // a transaction's rows each
}

// OrdersOptions say what to make.
type OrdersOptions struct {
	Topic      string
	Partitions int
	Count      int
	Items      int // of each order
	Seed       int
	BatchSize  int // orders in a transaction of Copy; 0 means 2,000
	// Alter changes each order that is stored; nil: they are stored as published.
	Alter func(*model.Order)
}

// MakeOrders has orderctl publish orders into a new topic, and reads them back
// to encode their rows.
func (s *Site) MakeOrders(ctx context.Context, o OrdersOptions) *Orders {
	Progress("publishing %d orders of %d items", o.Count, o.Items)
	o.BatchSize = cmp.Or(o.BatchSize, 2000)
	s.Broker.CreateTopic(ctx, o.Topic, o.Partitions, "delete")
	must.Succeed(s.Orderctl(ctx, o.Topic, "publish", "--quiet",
		"--count", strconv.Itoa(o.Count), "--items", strconv.Itoa(o.Items), "--seed", strconv.Itoa(o.Seed)))
	client := must.Get(kgo.NewClient(kgo.SeedBrokers(s.Broker.Addr), kgo.ConsumeTopics(o.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())))
	defer client.Close()
	orders := &Orders{Topic: o.Topic, Count: o.Count, Items: o.Items}
	codec := model.New(model.Options{})
	var pending []*model.Order
	for read := 0; read < o.Count; {
		fetches := client.PollFetches(ctx)
		must.Succeed(fetches.Err0())
		for record := range fetches.RecordsAll() {
			order := must.Get(codec.Decode(record.Value)).Order
			if o.Alter != nil {
				o.Alter(order)
			}
			orders.Bytes += int64(len(record.Value))
			if len(orders.Sample) < sampleSize {
				orders.Sample = append(orders.Sample, order)
				orders.Values = append(orders.Values, bytes.Clone(record.Value))
			}
			pending = append(pending, order)
			if read++; read%o.BatchSize == 0 || read == o.Count {
				orders.encode(pending)
				pending = nil
			}
		}
	}
	return orders
}

// PublishVersions makes a topic of as many records as the orders have: four of five are their first
// ones, and every fifth is another version of the order that came 2,000 records before in its
// partition, or less if there are not so many. It returns how many orders there are.
func (s *Site) PublishVersions(ctx context.Context, of *Orders, topic string, partitions int) (orders int) {
	const before = 2000
	Progress("publishing orders and newer versions of them")
	s.Broker.CreateTopic(ctx, topic, partitions, "delete")
	client := must.Get(kgo.NewClient(kgo.SeedBrokers(s.Broker.Addr), kgo.ConsumeTopics(of.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression())))
	defer client.Close()
	codec, latest := model.New(model.Options{}), map[int32][]*kgo.Record{}
	send := func(key, value []byte) {
		client.Produce(ctx, &kgo.Record{Key: key, Value: value}, func(_ *kgo.Record, err error) { must.Succeed(err) })
	}
	for sent := 0; sent < of.Count; {
		fetches := client.PollFetches(ctx)
		must.Succeed(fetches.Err0())
		for record := range fetches.RecordsAll() {
			if sent == of.Count {
				break
			}
			send(record.Key, record.Value)
			orders, sent = orders+1, sent+1
			known := latest[record.Partition]
			known = append(known, record)
			if sent%5 == 4 {
				changed := must.Get(codec.Decode(known[0].Value)).Order
				changed.Delivery.City, changed.Items[0].Status = "Haifa II", changed.Items[0].Status+1
				send(known[0].Key, model.AppendCanonical(nil, changed))
				sent, known = sent+1, known[1:]
			}
			latest[record.Partition] = known[max(0, len(known)-before):]
		}
	}
	must.Succeed(client.Flush(ctx))
	return orders
}

// encode adds a transaction's orders, sorted by uid as the worker's are.
func (o *Orders) encode(orders []*model.Order) {
	slices.SortFunc(orders, func(a, b *model.Order) int { return cmp.Compare(a.OrderUID, b.OrderUID) })
	rows := &orderdb.CopyIn{}
	var canonical []byte
	stamp := &model.Stamp{Time: time.UnixMilli(time.Now().UnixMilli())} // of the size of a record's
	for _, order := range orders {
		canonical = model.AppendCanonical(canonical[:0], order)
		hash := model.ContentHash(canonical)
		rows.Add(order, hash[:], stamp)
	}
	o.batches = append(o.batches, rows)
}

// CopyOptions say how Copy stores orders.
type CopyOptions struct {
	Conns int
	// Before and After are statements of each transaction, around its COPYs.
	Before, After string
}

// Copy stores the orders by binary COPY, each batch in a transaction.
func (o *Orders) Copy(ctx context.Context, database string, opts CopyOptions) {
	var next atomic.Int64
	must.Together(ctx, slices.Repeat([]func(context.Context){func(ctx context.Context) {
		conn := must.Get(pgx.Connect(ctx, database))
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for i := int(next.Add(1)) - 1; i < len(o.batches); i = int(next.Add(1)) - 1 {
			must.Succeed(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				must.Get(tx.Exec(ctx, opts.Before))
				must.Succeed(o.batches[i].Send(ctx, conn.PgConn()))
				must.Get(tx.Exec(ctx, opts.After))
				return nil
			}))
		}
	}}, opts.Conns)...)
}
