package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// expectHeader tells, in a record of a Load, the expected reason of its dead letter.
const expectHeader = "ledger-expect"

// conflicts is how many other contents an order_uid may come with. The first record
// of each has variant 0.
const conflicts = 2

// Load makes and sends records: new orders, the same again, the same uid with
// other content, and broken records. All records of an order_uid go to one
// partition, so the first is the one that must be stored.
type Load struct {
	// UID gives the order_uid of the n-th order.
	UID func(n int) string
	// Recurring is how many of the first orders come again; 0 means all, recent ones
	// more often.
	Recurring int
	// Changing is for workers with INGEST_ON_CONFLICT=newest and INGEST_ON_TOMBSTONE=delete:
	// most records change orders or delete them, in any partition, and are new or old.
	Changing bool
	// Made counts the records that were made, by kind.
	Made struct{ Orders, Duplicates, Conflicts, Broken, Changes int }

	client     *kgo.Client
	random     *rand.Rand
	topic      string
	partitions int
	sent       atomic.Int64
}

// NewLoad returns a load whose orders' uids begin with prefix. The client must
// not be used for anything else meanwhile, and partition by hand.
func NewLoad(client *kgo.Client, random *rand.Rand, topic string, partitions int, prefix string) *Load {
	return &Load{
		client: client, random: random, topic: topic, partitions: partitions,
		UID: func(n int) string { return fmt.Sprint(prefix, n) },
	}
}

// Client returns a client for a Load, whose records are acknowledged by all
// replicas in sync and written once.
func Client(brokers []string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.MetadataMinAge(100*time.Millisecond))
}

// Sent is how many records have been acknowledged.
func (l *Load) Sent() int { return int(l.sent.Load()) }

// Send makes n records and returns once they are acknowledged.
func (l *Load) Send(ctx context.Context, n int) error {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = l.next()
	}
	if err := l.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	l.sent.Add(int64(n))
	return nil
}

// Run sends about rate records a second until ctx ends. A batch that was begun by
// then is sent, within patience.
func (l *Load) Run(ctx context.Context, rate int, patience time.Duration) error {
	const perSecond = 20
	ticker := time.NewTicker(time.Second / perSecond)
	defer ticker.Stop()
	for {
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		err := l.Send(sending, 1+l.random.IntN(max(1, 2*rate/perSecond)))
		cancel()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (l *Load) next() *kgo.Record {
	switch n := l.random.IntN(100); {
	case n < 6:
		return l.broken()
	case n < 80 && l.Changing:
		return l.change()
	case n < 30 && l.Made.Orders > 0:
		return l.again()
	default:
		uid := l.UID(l.Made.Orders)
		l.Made.Orders++
		return l.record(uid, l.restyle(Content(uid, 0)))
	}
}

// again makes a record of an existing order: two of three are duplicates.
func (l *Load) again() *kgo.Record {
	n := l.random.IntN(l.Made.Orders)
	if l.Recurring > 0 {
		n = l.random.IntN(min(l.Recurring, l.Made.Orders))
	} else if l.random.IntN(4) > 0 {
		n = max(n, l.Made.Orders-1-l.random.IntN(300))
	}
	variant := max(0, l.random.IntN(3*conflicts)-2*conflicts+1)
	if variant == 0 {
		l.Made.Duplicates++
	} else {
		l.Made.Conflicts++
	}
	uid := l.UID(n)
	return l.record(uid, l.restyle(Content(uid, variant)))
}

// change makes a record of one of the last hundred orders, or of the next one: a version
// of it, or a deletion. One in three has a time of before, some as copies of another record.
func (l *Load) change() *kgo.Record {
	l.Made.Changes++
	uid := l.UID(max(0, l.Made.Orders-l.random.IntN(100)))
	record := l.record(uid, l.restyle(Content(uid, l.random.IntN(4))))
	if l.random.IntN(4) == 0 {
		record.Value = nil
	}
	before := time.Now().Add(-time.Duration(l.random.IntN(60_000)) * time.Millisecond)
	switch l.random.IntN(6) {
	case 0:
		record.Timestamp = before
	case 1: // as redriven letters have them
		record.Headers = []kgo.RecordHeader{
			{Key: deadletter.HeaderOriginPartition, Value: []byte("0")},
			{Key: deadletter.HeaderOriginOffset, Value: []byte(strconv.Itoa(l.Made.Changes))},
			{Key: deadletter.HeaderOriginTimestamp, Value: []byte(before.Format(time.RFC3339Nano))},
		}
	case 2:
		record.Partition = int32(l.random.IntN(l.partitions))
	}
	return record
}

func (l *Load) broken() *kgo.Record {
	all := []struct {
		reason model.Reason
		value  []byte
	}{
		{model.ReasonTombstone, nil},
		{model.ReasonEmpty, []byte{}},
		{model.ReasonNotJSON, []byte("hello")},
		{model.ReasonWrongType, []byte("[]")},
		{model.ReasonInvalid, []byte("{}")},
		{model.ReasonInvalidUTF8, []byte("{\"a\":\"\xff\"}")},
		{model.ReasonNUL, []byte(`{"a":"\u0000"}`)},
		{model.ReasonTrailingData, []byte("{} {}")},
	}
	l.Made.Broken++
	b := all[l.random.IntN(len(all))]
	record := l.record(fmt.Sprint("no order_uid ", l.random.IntN(1000)), b.value)
	record.Headers = []kgo.RecordHeader{{Key: expectHeader, Value: []byte(b.reason)}}
	return record
}

// record places a value in the partition of its key.
func (l *Load) record(key string, value []byte) *kgo.Record {
	sum := 0
	for _, c := range []byte(key) {
		sum = sum*31 + int(c)
	}
	return &kgo.Record{Topic: l.topic, Partition: int32(uint(sum) % uint(l.partitions)), Key: []byte(key), Value: value}
}

// Content is the canonical JSON of what NewOrder makes.
func Content(uid string, variant int) string {
	return string(model.AppendCanonical(nil, NewOrder(uid, variant)))
}

// NewOrder makes a valid order. Orders of different variants differ.
func NewOrder(uid string, variant int) *model.Order {
	return &model.Order{
		OrderUID: uid, TrackNumber: "TRACK", Entry: "WEB",
		Delivery: &model.Delivery{Name: "Test Testov", Phone: "+9720000000", Zip: "1", City: "City", Address: "Street 1", Region: "R", Email: "test@example.com"},
		Payment: &model.Payment{
			Transaction: uid, Currency: "USD", Provider: "pay", Amount: int64(variant), PaymentDT: 1637907727, Bank: "alpha",
			DeliveryCost: 1, GoodsTotal: 1,
		},
		Items:  []model.Item{{ChrtID: 1, TrackNumber: "TRACK", Price: 1, RID: uid, Name: "Thing", Size: "0", TotalPrice: 1, NmID: 1, Brand: "B", Status: 202}},
		Locale: "en", CustomerID: "test", DeliveryService: "meest", Shardkey: "9", SmID: 99,
		DateCreated: time.Date(2021, 11, 26, 6, 22, 19, 0, time.UTC), OofShard: "1",
	}
}

// restyle writes an order in one of the forms that producers use.
func (l *Load) restyle(canonical string) []byte {
	if l.random.IntN(2) == 0 {
		return []byte(canonical)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(canonical), "", "  "); err != nil {
		panic("canonical JSON is no JSON: " + err.Error())
	}
	return b.Bytes()
}

// insertStatements write a row of each table, all stored columns.
var insertStatements = func() map[*orderdb.Table]string {
	statements := map[*orderdb.Table]string{}
	for _, t := range orderdb.Tables {
		places := make([]string, len(t.Stored))
		for i := range places {
			places[i] = "$" + strconv.Itoa(i+1)
		}
		statements[t] = "INSERT INTO " + t.Name + " (" + strings.Join(t.Stored, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")"
	}
	return statements
}()

// Insert stores an order with a statement for each row, which pgx keeps
// prepared on the connection.
func Insert(ctx context.Context, tx pgx.Tx, o *model.Order) error {
	order := orderdb.FromModel(o, nil)
	tables := []*orderdb.Table{orderdb.Orders.Table, orderdb.Deliveries.Table, orderdb.Payments.Table}
	rows := []any{order, order.Delivery, order.Payment}
	for _, item := range order.Items {
		tables, rows = append(tables, orderdb.Items.Table), append(rows, item)
	}
	for i, t := range tables {
		values := make([]any, 0, len(t.Stored))
		for _, column := range t.Stored {
			value := t.Schema.FieldMap[column].Value(reflect.ValueOf(rows[i]).Elem()).Interface()
			if value == model.Unknown("") {
				value = nil // not kept
			}
			values = append(values, value)
		}
		if _, err := tx.Exec(ctx, insertStatements[t], values...); err != nil {
			return fmt.Errorf("insert order %s: %w", o.OrderUID, err)
		}
	}
	return nil
}
