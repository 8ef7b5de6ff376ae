package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// Shares of the records, in percent; all others are new orders.
const duplicates, conflicts, broken = 15, 5, 5

// recordsPerUpdate: there is one change by SQL for so many records.
const recordsPerUpdate = 5

// churn sends records and changes rows, so that the number of orders stays the same:
// the oldest are deleted as new ones come. The first ones are kept. Duplicates and
// conflicts are of these, since one of a deleted order would be stored.
type churn struct {
	settings *settings
	producer *kgo.Client
	sql      *pgx.Conn
	stamper  *rig.Stamper
	random   *rand.Rand

	kept    [][]byte // the records of the first orders
	made    int64    // orders
	doomed  int64    // orders before this one are deleted, or kept
	pending []string // to be deleted, but not stored yet

	sent, updated, gone, again, conflicting, unreadable int64
}

// keep is how many orders are never deleted.
func (s *settings) keep() int64 { return int64(s.Live) / 10 }

func newChurn(ctx context.Context, site *rig.Site, database string, orders *rig.Orders, s *settings) (*churn, error) {
	stamper, err := rig.NewStamper(orders, stamperSeed)
	if err != nil {
		return nil, err
	}
	c := &churn{settings: s, stamper: stamper, random: rand.New(rand.NewPCG(1, 2)), doomed: s.keep()}
	if c.sql, err = pgx.Connect(ctx, database); err != nil {
		return nil, err
	}
	if c.producer, err = site.Broker.NewProducer(topic, 0); err != nil {
		_ = c.sql.Close(ctx)
		return nil, err
	}
	return c, nil
}

const stamperSeed = 7

func (c *churn) close() {
	c.producer.Close()
	_ = c.sql.Close(context.Background()) // it has no open transaction
}

// alive is how many orders are to be stored once all records are processed.
func (c *churn) alive() int64 { return c.made - c.gone }

// uids are those of the orders that are to be stored then.
func (c *churn) uids() []string {
	alive := slices.Clone(c.pending)
	for n := range c.made {
		if n < c.settings.keep() || n >= c.doomed {
			alive = append(alive, rig.StampedUID(stamperSeed, uint64(n)))
		}
	}
	return alive
}

func (c *churn) stored(ctx context.Context) (n int64, err error) {
	err = c.sql.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&n)
	return n, err
}

// fill makes the orders, and waits until they are stored.
func (c *churn) fill(ctx context.Context) error {
	for c.made < int64(c.settings.Live) {
		var batch []*kgo.Record
		for range min(1000, int64(c.settings.Live)-c.made) {
			batch = append(batch, c.fresh())
		}
		if err := c.send(ctx, batch); err != nil {
			return err
		}
	}
	for {
		n, err := c.stored(ctx)
		if err != nil || n == c.made {
			return err
		}
		if err := retry.Sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// tick is between two batches of records.
const tick = 50 * time.Millisecond

// run sends and changes until ctx ends.
func (c *churn) run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	owed, last := 0.0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			// A busy machine does not make up for what it missed: the debt would only
			// grow.
			owed = min(owed+now.Sub(last).Seconds()*float64(c.settings.Rate), float64(c.settings.Rate))
			last = now
		}
		var batch []*kgo.Record
		for ; owed >= 1; owed-- {
			batch = append(batch, c.next())
		}
		// A begun batch is completed, so that the counts are right in the end.
		if err := c.work(context.WithoutCancel(ctx), batch); err != nil {
			return err
		}
	}
}

func (c *churn) work(ctx context.Context, batch []*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.send(ctx, batch); err != nil {
		return err
	}
	if err := c.remove(ctx); err != nil {
		return err
	}
	for range (len(batch) + recordsPerUpdate - 1) / recordsPerUpdate {
		if err := c.update(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *churn) send(ctx context.Context, records []*kgo.Record) error {
	if err := c.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	c.sent += int64(len(records))
	return nil
}

// next makes a record of a random kind.
func (c *churn) next() *kgo.Record {
	n := c.random.IntN(100)
	switch at := c.random.IntN(len(c.kept)); {
	case n < broken:
		c.unreadable++
		return &kgo.Record{Value: []byte("{}")}
	case n < broken+conflicts:
		c.conflicting++
		return c.old(at, true)
	case n < broken+conflicts+duplicates:
		c.again++
		return c.old(at, false)
	}
	return c.fresh()
}

// fresh makes a new order's record.
func (c *churn) fresh() *kgo.Record {
	uid, value := c.stamper.Next()
	if c.made < c.settings.keep() {
		c.kept = append(c.kept, value)
	}
	c.made++
	return &kgo.Record{Key: []byte(uid), Value: value}
}

// old is the record of an order that was sent before, with the same content or
// another.
func (c *churn) old(number int, changed bool) *kgo.Record {
	value := c.kept[number]
	if changed {
		value = bytes.Replace(value, []byte(`"entry":"`), []byte(`"entry":"X`), 1)
	}
	return &kgo.Record{Key: []byte(rig.StampedUID(stamperSeed, uint64(number))), Value: value}
}

// remove deletes the oldest orders beyond the number that is to be alive. An order
// that is not stored yet is deleted later.
func (c *churn) remove(ctx context.Context) error {
	for ; c.made-c.doomed > int64(c.settings.Live)-c.settings.keep(); c.doomed++ {
		c.pending = append(c.pending, rig.StampedUID(stamperSeed, uint64(c.doomed)))
	}
	if len(c.pending) == 0 {
		return nil
	}
	rows, err := c.sql.Query(ctx, "DELETE FROM orders WHERE order_uid = ANY($1) RETURNING order_uid", c.pending)
	if err != nil {
		return fmt.Errorf("delete orders: %w", err)
	}
	deleted, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("delete orders: %w", err)
	}
	c.gone += int64(len(deleted))
	c.pending = slices.DeleteFunc(c.pending, func(uid string) bool { return slices.Contains(deleted, uid) })
	return nil
}

var updates = []string{
	"UPDATE orders SET track_number = track_number || '' WHERE order_uid = $1",
	"UPDATE deliveries SET zip = zip || '' WHERE order_uid = $1",
	"UPDATE payments SET amount = amount + 1 WHERE order_uid = $1",
	"UPDATE items SET status = status + 1 WHERE order_uid = $1",
}

// update changes a row of an order that is alive, or nothing where it is not stored
// yet.
func (c *churn) update(ctx context.Context) error {
	number := c.doomed + c.random.Int64N(c.made-c.doomed)
	_, err := c.sql.Exec(ctx, updates[c.random.IntN(len(updates))], rig.StampedUID(stamperSeed, uint64(number)))
	if err != nil {
		return fmt.Errorf("change an order: %w", err)
	}
	c.updated++
	return nil
}
