package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
)

// No record arrives after the database went back, so only the check of an idle partition
// can notice it.
func TestAnIdleWorkerNoticesThatTheDatabaseWentBack(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker("INGEST_LAG_INTERVAL=1s")
	b.produce(0, order(t, "kept", "a"), order(t, "lost1", "a"), order(t, "lost2", "a"))
	b.drained()
	require.Equal(t, 3, b.count("orders"))

	b.exec(`WITH back AS (UPDATE ingest_positions SET next_offset = 1) DELETE FROM orders WHERE order_uid LIKE 'lost%'`)
	b.eventually("what was lost is stored again", func() (bool, string) {
		stored := b.count("orders")
		return stored == 3, fmt.Sprint(stored, " orders")
	})
	b.drained()
	require.Equal(t, 2, w.metric("orderhub_ingest_positions_behind_records_total", "partition=0"))
	var told bool
	var position int
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT epoch IS NOT NULL, next_offset FROM order_changes_state, ingest_positions WHERE topic = 'orders'`).Scan(&told, &position))
	require.True(t, told, "readers have to know")
	require.Equal(t, 3, position)
}

// The start of a generation reads what was erased, which may take longer than the period of
// the check of positions. The check must not end the generation meanwhile.
func TestASlowStartAfterTheDatabaseWentBackIsNotCutShort(t *testing.T) {
	b := setup(t, 1)
	w := b.startWorker("INGEST_LAG_INTERVAL=1s")
	b.produce(0, order(t, "kept", "a"), order(t, "lost", "a"))
	for n := range 30 { // the partition of letters that is read gets some
		b.produce(0, fmt.Append(nil, "no order ", n))
	}
	b.drained()
	b.eventually("the dead letters are looked through", func() (bool, string) {
		var known bool
		err := b.db.QueryRowContext(b.ctx, `SELECT EXISTS (SELECT FROM ingest_positions WHERE topic = 'orders.dlq' AND next_offset > 0)`).Scan(&known)
		return known, fmt.Sprint(err)
	})
	b.exec(`UPDATE ingest_positions SET next_offset = 0 WHERE topic = 'orders.dlq'`) // as a restore does
	holding, err := b.db.BeginTx(b.ctx, nil)
	require.NoError(t, err)
	_, err = holding.ExecContext(b.ctx, `SELECT FROM ingest_positions WHERE topic = 'orders.dlq' FOR UPDATE`)
	require.NoError(t, err)
	b.exec(`WITH back AS (UPDATE ingest_positions SET next_offset = 1 WHERE topic = 'orders') DELETE FROM orders WHERE order_uid = 'lost'`)
	b.produce(0, order(t, "later", "a"))
	b.eventually("its batch notices it", func() (bool, string) {
		return w.metric("orderhub_ingest_rebalances_total") == 2, ""
	})
	time.Sleep(2500 * time.Millisecond) // more than two periods, in which nothing may happen
	require.NoError(t, holding.Rollback())
	b.eventually("what was lost is stored again", func() (bool, string) { return b.count("orders") == 3, "" })
	b.drained()
	require.Equal(t, 2, w.metric("orderhub_ingest_rebalances_total"))
}

// A batch with an order_uid twice takes two transactions. The database loses the first
// one, which has moved no offset; the second one has to notice nevertheless.
func TestABatchNoticesThatItsFirstTransactionIsLost(t *testing.T) {
	b := setup(t, 1)
	b.exec(`INSERT INTO ingest_positions (consumer_group, topic_id, partition, topic, next_offset) VALUES ('g', '00000000-0000-0000-0000-000000000001', 0, 'orders', 0)`)
	committed := 0
	w := orderwrite.New(bun.NewDB(b.db, pgdialect.New()), orderwrite.Options{Timeout: 30 * time.Second, MaxOrders: 100, Phase: func(_ context.Context, phase string, _ time.Duration) {
		if phase == orderwrite.PhaseCommit {
			if committed++; committed == 1 {
				b.exec(`DELETE FROM orders`)
				b.exec(`UPDATE ingest_positions SET next_offset = 0, transactions = 0`)
			}
		}
	}})
	var transactions int64
	position := orderwrite.Position{Group: "g", TopicID: "00000000-0000-0000-0000-000000000001", Next: 2, Transactions: &transactions}
	entries := []*orderwrite.Entry{entry(t, "twice", "first"), entry(t, "twice", "second")}
	err := w.Recording(position).Write(b.ctx, entries)
	var behind *orderwrite.BehindError
	require.ErrorAs(t, err, &behind)
	require.Empty(t, b.stored("twice"), "the second record must not be the one that is stored")

	// What the worker does then: from the position on, the same records again.
	transactions = 0
	entries = []*orderwrite.Entry{entry(t, "twice", "first"), entry(t, "twice", "second")}
	require.NoError(t, w.Recording(position).Write(b.ctx, entries))
	require.Equal(t, []orderwrite.Outcome{orderwrite.Stored, orderwrite.Conflict}, []orderwrite.Outcome{entries[0].Outcome, entries[1].Outcome})
	require.EqualValues(t, 2, transactions)
}

func entry(t *testing.T, uid, mark string) *orderwrite.Entry {
	t.Helper()
	var o model.Order
	require.NoError(t, json.Unmarshal(order(t, uid, mark), &o))
	return &orderwrite.Entry{Order: &o, Hash: model.ContentHash(model.AppendCanonical(nil, &o))}
}
