package integration

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	kept "github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// erase does what 'orderctl erase' does with an order, whatever the workers do meanwhile.
// Before a worker first started there is no topic for the note.
func (c *propertyCase) erase(uid string) {
	c.t.Helper()
	if c.slot.broker.Cluster().TopicInfo(c.dlq) == nil {
		return
	}
	if c.lock != nil { // it would be in our own way
		require.NoError(c.t, c.lock.Rollback())
		c.lock = nil
	}
	for _, f := range c.faults { // some would last as long as we produce
		f.Remove()
	}
	c.faults = nil
	client, err := dlq.NewClient(kgo.SeedBrokers(c.slot.broker.Addr()))
	require.NoError(c.t, err)
	defer client.Close()
	queue := dlq.New(client, dlq.Options{Topic: c.dlq, Orders: c.topic, Erasures: key()})
	h, db := key().Of(uid), bun.NewDB(c.slot.db, pgdialect.New())
	require.NoError(c.t, erased.Add(c.ctx, db, []orderdb.Erasure{{HMAC: h[:], KeyID: key().ID()}}))
	require.NoError(c.t, queue.WriteErased(c.ctx, []erasure.HMAC{h}, time.Now()))
	ctx, cancel := context.WithTimeout(c.ctx, time.Second)
	defer cancel()
	if erased.Await(ctx, db) != nil { // a connection that was lost silently has left a transaction open
		c.exec(terminateWorkers)
		require.NoError(c.t, erased.Await(c.ctx, db))
	}
	view, err := queue.Scan(c.ctx, kept.Filter{Of: func(l *kept.Letter) bool { return slices.Contains(deadletter.OrderUIDs(l.SourceKey, l.Value), uid) }})
	require.NoError(c.t, err)
	_, err = erased.Remove(c.ctx, db, []string{uid})
	require.NoError(c.t, err)
	_, err = queue.Erase(c.ctx, view.Select(kept.Any, 0))
	require.NoError(c.t, err)
	c.erased = append(c.erased, uid)
}

// erasuresLeft says what the workers have yet to do about erased orders: nothing, but for a moment
// after the tables went back. Orders go first, then letters, then the row is no longer pending.
func (c *propertyCase) erasuresLeft() (left []string) {
	c.t.Helper()
	if len(c.erased) == 0 {
		return nil
	}
	var orders, done int
	require.NoError(c.t, c.slot.db.QueryRowContext(c.ctx, `SELECT count(*) FROM orders WHERE order_uid = ANY ($1)`, c.erased).Scan(&orders))
	require.NoError(c.t, c.slot.db.QueryRowContext(c.ctx, `SELECT count(*) FROM erasures WHERE NOT pending`).Scan(&done))
	if orders > 0 {
		left = append(left, fmt.Sprintf("%d erased orders are in the tables again", orders))
	}
	if distinct := len(slices.Compact(slices.Sorted(slices.Values(c.erased)))); done < distinct {
		left = append(left, fmt.Sprintf("%d of %d erasures are done in the tables", done, distinct))
	}
	require.True(c.t, len(left) == 0 || c.wentBack, "an erased order is in the tables: %s", left)
	return left
}
