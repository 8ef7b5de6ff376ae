package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

// outcome is what is to become of a record.
type outcome int

const (
	stored outcome = iota
	duplicate
	conflict
	broken
	outcomes
)

var outcomeNames = [outcomes]string{"to be stored", "duplicates", "conflicts", "broken"}

// sent is a record that was sent, with what is to become of it.
type sent struct {
	outcome outcome
	reason  string // of the dead letter
	record  *kgo.Record
}

// load makes and sends records, and knows what is to become of each. All records
// of an order_uid go to one partition, so the first is the one that is stored.
type load struct {
	random  *rand.Rand
	client  *kgo.Client
	records []sent
	orders  []string          // order_uids in the order of their first record
	content map[string]string // canonical JSON by order_uid
}

func newLoad(random *rand.Rand, client *kgo.Client) *load {
	return &load{random: random, client: client, content: map[string]string{}}
}

// run sends about rate records a second until ctx ends. What was begun is sent.
func (l *load) run(ctx context.Context, rate int) error {
	const perSecond = 20
	ticker := time.NewTicker(time.Second / perSecond)
	defer ticker.Stop()
	for {
		from := len(l.records)
		for range 1 + l.random.IntN(2*rate/perSecond) {
			l.records = append(l.records, l.next())
		}
		records := make([]*kgo.Record, 0, len(l.records)-from)
		for _, r := range l.records[from:] {
			records = append(records, r.record)
		}
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		err := l.client.ProduceSync(sending, records...).FirstErr()
		cancel()
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (l *load) next() sent {
	switch n := l.random.IntN(100); {
	case n < 6:
		return l.broken()
	case n < 30 && len(l.orders) > 0:
		return l.again()
	default:
		uid := fmt.Sprintf("chaos-%d", len(l.orders))
		content := l.order(uid, 0)
		l.orders, l.content[uid] = append(l.orders, uid), content
		return l.send(stored, "", uid, l.restyle(content))
	}
}

// again sends a record of an order that was sent, a recent one mostly.
func (l *load) again() sent {
	back := 1 + l.random.IntN(len(l.orders))
	if l.random.IntN(4) > 0 {
		back = min(back, 1+l.random.IntN(300))
	}
	uid := l.orders[len(l.orders)-back]
	content := l.order(uid, l.random.IntN(3))
	if content == l.content[uid] {
		return l.send(duplicate, "", uid, l.restyle(content))
	}
	return l.send(conflict, deadletter.ReasonConflict, uid, l.restyle(content))
}

func (l *load) broken() sent {
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
	b := all[l.random.IntN(len(all))]
	return l.send(broken, string(b.reason), fmt.Sprint(l.random.IntN(1000)), b.value)
}

// send places a record in the partition of its key.
func (l *load) send(o outcome, reason, key string, value []byte) sent {
	sum := 0
	for _, c := range []byte(key) {
		sum = sum*31 + int(c)
	}
	return sent{outcome: o, reason: reason, record: &kgo.Record{
		Topic: topic, Partition: int32(uint(sum) % partitions), Key: []byte(key), Value: value,
		Timestamp: time.UnixMilli(1_700_000_000_000 + int64(len(l.records))),
	}}
}

// order is the canonical JSON of an order; the variant tells contents apart.
func (l *load) order(uid string, variant int) string {
	o := model.Order{
		OrderUID: uid, TrackNumber: "TRACK", Entry: "WEB",
		Delivery: &model.Delivery{Name: "Test Testov", Phone: "+9720000000", Zip: "1", City: "City", Address: "Street 1", Region: "R", Email: "test@example.com"},
		Payment: &model.Payment{
			Transaction: uid, Currency: "USD", Provider: "pay", Amount: int64(variant), PaymentDT: 1637907727, Bank: "alpha",
			DeliveryCost: 1, GoodsTotal: 1,
		},
		Items:  []model.Item{{ChrtID: 1, TrackNumber: "TRACK", Price: 1, RID: uid, Name: "Thing", Size: "0", TotalPrice: 1, NmID: 1, Brand: "B", Status: 202}},
		Locale: "en", CustomerID: "test", DeliveryService: "meest", ShardKey: "9", SmID: 99,
		DateCreated: time.Date(2021, 11, 26, 6, 22, 19, 0, time.UTC), OofShard: "1",
	}
	return string(model.AppendCanonical(nil, &o))
}

// restyle writes an order as one of its producers might.
func (l *load) restyle(canonical string) []byte {
	if l.random.IntN(2) == 0 {
		return []byte(canonical)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(canonical), "", "  "); err != nil {
		panic(errors.Join(errors.New("canonical JSON is no JSON"), err))
	}
	return b.Bytes()
}
