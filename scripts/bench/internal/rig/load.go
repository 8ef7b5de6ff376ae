package rig

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// Stamper makes records of new orders from existing ones, by another uid. That
// costs next to nothing. It is not safe for concurrent use.
type Stamper struct {
	orders *Orders
	seed   uint64
	made   uint64
}

// NewStamper takes the sample of the orders as its templates. Stampers of
// different seeds, from 0 to 255, make different uids.
func NewStamper(orders *Orders, seed uint8) *Stamper {
	return &Stamper{orders: orders, seed: uint64(seed)}
}

// Next makes a record.
func (s *Stamper) Next() (uid string, value []byte) {
	i := s.made % uint64(len(s.orders.Sample))
	uid = StampedUID(s.seed, s.made)
	s.made++
	return uid, bytes.ReplaceAll(s.orders.Values[i], []byte(s.orders.Sample[i].OrderUID), []byte(uid))
}

// StampedUID is the uid of a stamper's n-th order, of the form that orderctl publish
// makes. Uids do not repeat, and those of one stamper are spread over the whole range.
func StampedUID(seed, n uint64) string {
	const mask = 1<<60 - 1
	x := (seed<<52 | n) & mask // each step maps 60 bits one to one
	for range 2 {
		x = x * 0x9e3779b97f4a7c15 & mask
		x ^= x >> 31
	}
	return fmt.Sprintf("%015xtest", x)
}

// loadLinger is how long a Load collects records: the default of Kafka's own
// producer since version 4.0.
const loadLinger = 5 * time.Millisecond

// Load sends orders at a rate that can be changed meanwhile, whether the services
// keep up or not.
type Load struct {
	producer *kgo.Client
	stamper  *Stamper
	rate     atomic.Uint64 // bits of a float64
	acked    atomic.Int64
	failed   atomic.Pointer[error]
	stop     context.CancelFunc
	stopped  chan struct{}
}

// StartLoad begins with a rate of 0. The orders are a [Stamper]'s.
func StartLoad(ctx context.Context, b *Broker, topic string, orders *Orders, seed uint8) *Load {
	l := &Load{producer: b.NewProducer(topic, loadLinger), stamper: NewStamper(orders, seed), stopped: make(chan struct{})}
	ctx, l.stop = context.WithCancel(ctx)
	go l.run(ctx)
	return l
}

// SetRate sets the orders a second.
func (l *Load) SetRate(rate float64) { l.rate.Store(math.Float64bits(rate)) }

// Acked is how many orders all replicas have.
func (l *Load) Acked() int64 { return l.acked.Load() }

// Stop ends the load. An order that could not be sent ends the benchmark.
func (l *Load) Stop() {
	l.stop()
	<-l.stopped
	l.producer.Close()
	if err := l.failed.Load(); err != nil {
		must.Succeed(fmt.Errorf("send orders: %w", *err))
	}
}

func (l *Load) run(ctx context.Context) {
	defer close(l.stopped)
	const tick = 2 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last, owed := time.Now(), 0.0
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			// Records in flight are sent, so that the count is right.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			if err := l.producer.Flush(ctx); err != nil {
				l.failed.CompareAndSwap(nil, &err)
			}
			return
		case now = <-ticker.C:
		}
		owed += now.Sub(last).Seconds() * math.Float64frombits(l.rate.Load())
		last = now
		for ; owed >= 1; owed-- {
			uid, value := l.stamper.Next()
			l.producer.Produce(context.WithoutCancel(ctx), &kgo.Record{Key: []byte(uid), Value: value}, l.done)
		}
	}
}

func (l *Load) done(_ *kgo.Record, err error) {
	if err != nil {
		l.failed.CompareAndSwap(nil, &err)
		return
	}
	l.acked.Add(1)
}

// Changes are how many orders are changed in each way.
type Changes struct{ Updates, Deletes, Inserts int }

// Sum is how many that are.
func (c Changes) Sum() int { return c.Updates + c.Deletes + c.Inserts }

// chooseOrders takes the orders behind random uids, whose first digits are random
// themselves.
const chooseOrders = `SELECT DISTINCT uid FROM generate_series(1, $1) AS n, LATERAL
	(SELECT order_uid AS uid FROM orders WHERE order_uid > left(md5(random()::text || n), 15) ORDER BY order_uid LIMIT 1) AS next`

// Change changes random orders in a transaction, at most as many as wanted: updated ones
// get other values in all four tables, and inserted ones are copies under new uids.
// What was done is added to sum.
func Change(ctx context.Context, conn *pgx.Conn, wanted Changes, sum *Changes) {
	chosen := must.Get(pgx.CollectRows(must.Get(conn.Query(ctx, chooseOrders, wanted.Sum())), pgx.RowTo[string]))
	rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	deletes, copies := len(chosen)*wanted.Deletes/wanted.Sum(), len(chosen)*wanted.Inserts/wanted.Sum()
	deleted, copied, updated := chosen[:deletes], chosen[deletes:deletes+copies], chosen[deletes+copies:]
	stamp := fmt.Sprintf("%08x", rand.Uint32())
	batch := &pgx.Batch{}
	batch.Queue(`UPDATE deliveries SET address = 'Street ' || left(repeat(md5(order_uid || $2), 2), 4 + abs(hashtext(order_uid || $2)) % 40)
		WHERE order_uid = ANY($1)`, updated, stamp)
	batch.Queue(`UPDATE items SET status = status + 1 WHERE order_uid = ANY($1)`, updated)
	batch.Queue(`UPDATE payments SET amount = amount + 1 WHERE order_uid = ANY($1)`, updated)
	batch.Queue(`UPDATE orders SET oof_shard = $2 WHERE order_uid = ANY($1)`, updated, strconv.Itoa(rand.IntN(10)))
	batch.Queue(`DELETE FROM orders WHERE order_uid = ANY($1)`, deleted)
	for _, t := range orderdb.Tables {
		batch.Queue(fmt.Sprintf(`INSERT INTO %[1]s (order_uid, %[2]s) SELECT left(md5(order_uid || $2), 15) || 'new', %[2]s
			FROM %[1]s WHERE order_uid = ANY($1)`, t.Name, strings.Join(t.Columns[1:], ", ")), copied, stamp)
	}
	must.Succeed(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() }))
	sum.Updates, sum.Deletes, sum.Inserts = sum.Updates+len(updated), sum.Deletes+len(deleted), sum.Inserts+len(copied)
}
