package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// recordsPerUpdate: there is one change by SQL for so many records.
const recordsPerUpdate = 5

// churn sends records and changes rows, so that the number of orders stays the same:
// the oldest are deleted as new ones come. The first ones are kept. Duplicates and
// conflicts are of these, since one of a deleted order would be stored.
type churn struct {
	settings *settings
	client   *kgo.Client
	load     *ledger.Load
	sql      *pgx.Conn
	random   *rand.Rand

	doomed        int      // orders before this one are deleted, or kept
	pending       []string // to be deleted, but not stored yet
	gone, updated int
}

func newChurn(ctx context.Context, site *rig.Site, database string, s *settings) (c *churn, err error) {
	c = &churn{settings: s, random: rand.New(rand.NewPCG(1, 2)), doomed: s.Live / 10}
	if c.sql, err = pgx.Connect(ctx, database); err != nil {
		return nil, err
	}
	if c.client, err = ledger.Client([]string{site.Broker.Addr}); err != nil {
		return nil, err
	}
	c.load = ledger.NewLoad(c.client, c.random, topic, partitions, "")
	c.load.UID = func(n int) string { return rig.StampedUID(1, uint64(n)) } // in no order, as real ones
	c.load.Recurring = c.keep()
	return c, nil
}

func (c *churn) close() {
	c.client.Close()
	_ = c.sql.Close(context.Background()) // it has no open transaction
}

// keep is how many orders are never deleted.
func (c *churn) keep() int { return c.settings.Live / 10 }

// alive is how many orders are to be stored once all records are processed.
func (c *churn) alive() int { return c.load.Made.Orders - c.gone }

// uids are those of the orders that are to be stored then.
func (c *churn) uids() []string {
	alive := slices.Clone(c.pending)
	for n := range c.load.Made.Orders {
		if n < c.keep() || n >= c.doomed {
			alive = append(alive, c.load.UID(n))
		}
	}
	return alive
}

func (c *churn) stored(ctx context.Context) (n int, err error) {
	err = c.sql.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&n)
	return n, err
}

// fill makes the orders, and waits until they are stored.
func (c *churn) fill(ctx context.Context) error {
	for c.load.Made.Orders < c.settings.Live {
		if err := c.load.Send(ctx, min(1000, c.settings.Live-c.load.Made.Orders)); err != nil {
			return err
		}
	}
	for {
		n, err := c.stored(ctx)
		if err != nil || n == c.load.Made.Orders {
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
		// A begun batch is completed, so that the counts are right in the end.
		if err := c.work(context.WithoutCancel(ctx), int(owed)); err != nil {
			return err
		}
		owed -= float64(int(owed))
	}
}

func (c *churn) work(ctx context.Context, records int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.load.Send(ctx, records); err != nil {
		return err
	}
	if err := c.remove(ctx); err != nil {
		return fmt.Errorf("delete orders: %w", err)
	}
	for range (records + recordsPerUpdate - 1) / recordsPerUpdate {
		if err := c.update(ctx); err != nil {
			return fmt.Errorf("change an order: %w", err)
		}
	}
	return nil
}

// remove deletes the oldest orders beyond the number that is to be alive. An order
// that is not stored yet is deleted later.
func (c *churn) remove(ctx context.Context) error {
	for ; c.load.Made.Orders-c.doomed > c.settings.Live-c.keep(); c.doomed++ {
		c.pending = append(c.pending, c.load.UID(c.doomed))
	}
	if len(c.pending) == 0 {
		return nil
	}
	rows, err := c.sql.Query(ctx, "DELETE FROM orders WHERE order_uid = ANY($1) RETURNING order_uid", c.pending)
	if err != nil {
		return err
	}
	deleted, err := pgx.CollectRows(rows, pgx.RowTo[string])
	c.gone += len(deleted)
	c.pending = slices.DeleteFunc(c.pending, func(uid string) bool { return slices.Contains(deleted, uid) })
	return err
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
	uid := c.load.UID(c.doomed + c.random.IntN(c.load.Made.Orders-c.doomed))
	_, err := c.sql.Exec(ctx, updates[c.random.IntN(len(updates))], uid)
	c.updated++
	return err
}
