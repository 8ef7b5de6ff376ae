package rig

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
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

	batches []batch
	rows    string // file
}

// batch is where a transaction's rows lie in the file, by table.
type batch [len(orderdb.Tables)]struct{ from, size int64 }

// OrdersOptions say what to make.
type OrdersOptions struct {
	Topic      string
	Partitions int
	Count      int
	Items      int // of each order
	Seed       int
	BatchSize  int // orders in a transaction of Copy; 0 means 2,000
}

// MakeOrders has orderctl publish orders into a new topic, and reads them back
// to encode their rows.
func (s *Site) MakeOrders(ctx context.Context, o OrdersOptions) (*Orders, error) {
	if o.BatchSize == 0 {
		o.BatchSize = 2000
	}
	if err := s.Broker.CreateTopic(ctx, o.Topic, o.Partitions, "delete"); err != nil {
		return nil, err
	}
	if err := s.Orderctl(ctx, o.Topic, "publish", "--quiet",
		"--count", strconv.Itoa(o.Count), "--items", strconv.Itoa(o.Items), "--seed", strconv.Itoa(o.Seed)); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Broker.Addr), kgo.ConsumeTopics(o.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	orders := &Orders{Topic: o.Topic, Count: o.Count, Items: o.Items}
	rows, err := os.CreateTemp(s.Folder, "rows-*")
	if err != nil {
		return nil, fmt.Errorf("keep the rows: %w", err)
	}
	orders.rows = rows.Name()
	return orders, errors.Join(orders.encode(ctx, client, rows, o), rows.Close())
}

// encode reads the topic and writes the rows of each batch, sorted by uid as the
// worker's are.
func (o *Orders) encode(ctx context.Context, client *kgo.Client, rows io.Writer, opts OrdersOptions) error {
	codec := model.New(model.Options{})
	var pending []*model.Order
	var at int64
	for read := 0; read < opts.Count; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read the topic back: %w", err)
		}
		for record := range fetches.RecordsAll() {
			decoded, err := codec.Decode(record.Value)
			if err != nil {
				return fmt.Errorf("a published order: %w", err)
			}
			o.Bytes += int64(len(record.Value))
			if len(o.Sample) < sampleSize {
				o.Sample = append(o.Sample, decoded.Order)
				o.Values = append(o.Values, bytes.Clone(record.Value))
			}
			pending = append(pending, decoded.Order)
			if read++; read%opts.BatchSize != 0 && read < opts.Count {
				continue
			}
			slices.SortFunc(pending, func(a, b *model.Order) int { return cmp.Compare(a.OrderUID, b.OrderUID) })
			var b batch
			for i, data := range encodeRows(pending) {
				if _, err := rows.Write(data); err != nil {
					return fmt.Errorf("keep the rows: %w", err)
				}
				b[i].from, b[i].size = at, int64(len(data))
				at += int64(len(data))
			}
			o.batches, pending = append(o.batches, b), nil
		}
	}
	return nil
}

// CopyOptions say how Copy stores orders.
type CopyOptions struct {
	Conns int
	// Before and After are statements of each transaction, around its COPYs.
	Before, After string
}

// Copy stores the orders by binary COPY, each batch in a transaction.
func (o *Orders) Copy(ctx context.Context, database string, opts CopyOptions) error {
	rows, err := os.Open(o.rows)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // it was only read
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range opts.Conns {
		group.Go(func() error {
			conn, err := pgx.Connect(ctx, database)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for i := int(next.Add(1)) - 1; i < len(o.batches); i = int(next.Add(1)) - 1 {
				if err := copyBatch(ctx, conn, rows, o.batches[i], opts); err != nil {
					return fmt.Errorf("COPY batch %d: %w", i, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func copyBatch(ctx context.Context, conn *pgx.Conn, file io.ReaderAt, b batch, opts CopyOptions) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, opts.Before); err != nil {
			return err
		}
		for i, table := range orderdb.Tables {
			rows := io.NewSectionReader(file, b[i].from, b[i].size)
			if _, err := conn.PgConn().CopyFrom(ctx, rows, table.CopyInStatement()); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, opts.After)
		return err
	})
}

// encodeRows gives each table's rows in COPY's binary form.
func encodeRows(orders []*model.Order) [len(orderdb.Tables)][]byte {
	var rows orderdb.CopyIn
	var canonical []byte
	for _, o := range orders {
		canonical = model.AppendCanonical(canonical[:0], o)
		rows.Add(o, model.ContentHash(canonical))
	}
	return rows.Data()
}
