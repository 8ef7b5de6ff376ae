package rig

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

func testOrder(uid string, items int) *model.Order {
	o := &model.Order{
		OrderUID: uid, TrackNumber: "T", Entry: "E", Locale: "en", CustomerID: "c", DeliveryService: "d", Shardkey: "9", SmID: 99,
		DateCreated: time.Date(1999, 11, 26, 6, 22, 19, 123456000, time.UTC), OofShard: "1",
		Delivery: &model.Delivery{Name: "Zoë", Phone: "+1", Zip: "2", City: "C", Address: "A", Region: "R", Email: "e@example.com"},
		Payment: &model.Payment{
			Transaction: uid, Currency: "USD", Provider: "p", Amount: -1, PaymentDT: 1637907727, Bank: "b", DeliveryCost: 2, GoodsTotal: 3, CustomFee: 4,
		},
	}
	for i := range items {
		o.Items = append(o.Items, model.Item{ChrtID: int64(i), TrackNumber: "T", Price: 1 << 40, RID: "r", Name: "n", Sale: 30, Size: "0", Status: 202})
	}
	return o
}

// testOrders has one batch for each group.
func testOrders(groups ...[]*model.Order) *Orders {
	o := &Orders{}
	for _, group := range groups {
		o.encode(group)
		o.Count += len(group)
	}
	return o
}

func TestServer(t *testing.T) {
	ctx := t.Context()
	server := startServer(ctx, map[string]string{"shared_buffers": "32MB", "min_wal_size": "64MB", "fsync": "off"})
	defer func() { require.NoError(t, server.Stop(context.Background())) }()

	t.Run("COPY and INSERT store the same", func(t *testing.T) {
		address, drop := server.Fresh(ctx)
		defer drop()
		copied, inserted := testOrder("copied", 3), testOrder("inserted", 3)
		testOrders([]*model.Order{copied}).Copy(ctx, address, CopyOptions{Conns: 2, Before: "SET LOCAL orderhub.whole_orders = 'on'", After: "NOTIFY orders_changed"})
		conn, err := pgx.Connect(ctx, address)
		require.NoError(t, err)
		defer func() { _ = conn.Close(ctx) }()
		require.NoError(t, pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return ledger.Insert(ctx, tx, inserted) }))

		db, err := sql.Open("pgx", address)
		require.NoError(t, err)
		defer func() { _ = db.Close() }()
		stored, err := orderdb.Read(ctx, db, []string{"copied", "inserted"})
		require.NoError(t, err)
		require.Len(t, stored, 2)
		require.Equal(t, copied, stored["copied"].Order)
		require.Equal(t, inserted, stored["inserted"].Order)
		hash := model.ContentHash(model.AppendCanonical(nil, copied))
		require.Equal(t, hash[:], stored["copied"].ContentHash)
	})

	t.Run("what is stored beforehand is in each database", func(t *testing.T) {
		var originals []*model.Order
		for i := range 10 {
			originals = append(originals, testOrder(fmt.Sprintf("original%d", i), 2))
		}
		server.Preload(ctx, testOrders(originals[:6], originals[6:]), 37)
		for range 2 {
			address, drop := server.Fresh(ctx)
			for table, want := range map[string]int{"orders": 37, "deliveries": 37, "payments": 37, "items": 74} {
				require.Equal(t, want, Query[int](ctx, address, "SELECT count(*) FROM "+table)[0], table)
			}
			drop()
		}
		server.Preload(ctx, nil, 50) // from where it was
		address, drop := server.Fresh(ctx)
		defer drop()
		require.Equal(t, 50, Query[int](ctx, address, "SELECT count(*) FROM payments")[0])
	})

	t.Run("what is written is counted", func(t *testing.T) {
		address, drop := server.Fresh(ctx)
		defer drop()
		bytes, transactions := server.Written(ctx)
		one, other := []*model.Order{testOrder("one", 1)}, []*model.Order{testOrder("other", 1)}
		testOrders(one, other).Copy(ctx, address, CopyOptions{Conns: 1})
		bytesAfter, transactionsAfter := server.Written(ctx)
		require.Greater(t, bytesAfter, bytes)
		require.Equal(t, transactions+2, transactionsAfter)
	})
}

func TestMain(m *testing.M) {
	Play()
	m.Run()
}

func TestBrokerHoldsRecordsBack(t *testing.T) {
	b := startBroker(t.Context())
	defer func() { require.NoError(t, b.stop()) }()
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.DefaultProduceTopic("x"))
	require.NoError(t, err)
	defer producer.Close()
	_, err = kadm.NewClient(producer).CreateTopic(t.Context(), 1, 1, nil, "x")
	require.NoError(t, err)
	require.NoError(t, producer.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr())

	b.hold()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.ConsumeTopics("x"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer consumer.Close()
	fetched := make(chan int, 1)
	go func() { fetched <- consumer.PollFetches(t.Context()).NumRecords() }()
	select {
	case <-fetched:
		t.Fatal("a record came though the gate was closed")
	case <-time.After(200 * time.Millisecond):
	}
	b.release()
	require.Equal(t, 1, <-fetched)
}

func TestParseMetrics(t *testing.T) {
	values := parseMetrics("# HELP a_total Words here.\n# TYPE a_total counter\na_total{outcome=\"x y\"} 1.5e+06\nb 2\n")
	require.Equal(t, map[string]float64{`a_total{outcome="x y"}`: 1.5e6, "b": 2}, values)
	require.Error(t, must.Try(func() { parseMetrics("a b\n") }))
}

func TestNextLookComesCloserToTheEnd(t *testing.T) {
	require.Equal(t, 10*shortestLook, untilNextLook(time.Second, 0, 100))
	require.Equal(t, 250*time.Millisecond, untilNextLook(time.Second, 50, 75))
	require.Equal(t, longestLook, untilNextLook(10*time.Second, 1, 100))
	require.Equal(t, shortestLook, untilNextLook(time.Second, 99_999, 100_000))
}

func TestStampedOrdersAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(3) {
		for n := range uint64(10_000) {
			uid := StampedUID(seed, n)
			require.Len(t, uid, len("b563feb7b2b84b6test"))
			require.False(t, seen[uid], uid)
			seen[uid] = true
		}
	}
}

func TestStampedRecordsAreOrdersWithTheirUID(t *testing.T) {
	o := testOrder(StampedUID(9, 9), 2)
	o.Delivery.Phone, o.Payment.Amount = "+9720000000", 1
	orders := &Orders{Sample: []*model.Order{o}, Values: [][]byte{model.AppendCanonical(nil, o)}}
	s := NewStamper(orders, 1)
	for n := range uint64(3) {
		uid, value := s.Next()
		require.Equal(t, StampedUID(1, n), uid)
		decoded, err := model.New(model.Options{}).Decode(value)
		require.NoError(t, err)
		want := *o
		payment := *o.Payment
		want.OrderUID, want.Payment, payment.Transaction = uid, &payment, uid
		require.Equal(t, &want, decoded.Order)
	}
}
