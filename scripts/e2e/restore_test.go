package e2e

import (
	"context"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// A database that is put back to an earlier base backup gets the orders since then again,
// whether the workers were restarted or not, and the readers, which run all the time,
// serve what the tables have. Some orders come while it happens. An order that was erased
// after the backup does not come back with it.
func TestARestoredDatabaseHealsItself(t *testing.T) {
	const records, partitions = 4000, 4
	for name, restarted := range map[string]bool{"workers kept running": false, "workers restarted": true} {
		t.Run(name, func(t *testing.T) {
			server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
			server.NeedForTest(t, "pg_basebackup")
			p := newPipelineOn(t, server.URL())
			p.env = append(p.env, "ERASURE_KEY=0123456789abcdef0123456789abcdef", "ORDERHUB_AUDIT_FILE="+t.TempDir()+"/audit.jsonl")
			workers := []*process{p.worker(), p.worker()}
			readers := []*process{p.reader(), p.reader()}

			client, err := ledger.Client([]string{p.brokers})
			require.NoError(t, err)
			defer client.Close()
			progress, err := ledger.NewProgress([]string{p.brokers}, "orders", "orderhub")
			require.NoError(t, err)
			defer progress.Close()
			load := ledger.NewLoad(client, rand.New(rand.NewPCG(1, 2)), "orders", partitions, "restored-")
			send := func(n int) {
				t.Helper()
				for range n / 100 {
					require.NoError(t, load.Send(p.ctx, 100))
				}
			}

			send(records / 4)
			forgotten := ledger.NewOrder("forgotten", 0)
			p.insert(forgotten)
			p.seen(readers[0], forgotten.OrderUID, string(model.AppendCanonical(nil, forgotten)))
			loading, loaded := make(chan error, 1), context.WithoutCancel(p.ctx)
			go func() { loading <- load.Send(loaded, records/4) }()
			require.NoError(t, server.BackUp(p.ctx))
			require.NoError(t, <-loading)
			send(records / 2)
			require.NoError(t, progress.DrainInto(p.ctx, p.database))
			byHand := ledger.NewOrder("hand-made", 0)
			p.insert(byHand)
			p.seen(readers[0], byHand.OrderUID, string(model.AppendCanonical(nil, byHand)))
			p.orderctl("", "erase", "--uid", forgotten.OrderUID, "--actor", "e2e", "--why", "asked for", "--yes")
			p.seen(readers[0], forgotten.OrderUID, "")
			before := p.orders()

			if restarted {
				for _, w := range workers {
					w.stop(syscall.SIGTERM)
				}
			}
			require.NoError(t, server.Restore(p.ctx))
			if restarted {
				require.Less(t, p.orders(), before)
				workers = []*process{p.worker(), p.worker()}
			}
			send(200)
			require.NoError(t, progress.DrainInto(p.ctx, p.database))
			require.Greater(t, p.orders(), before)
			var logs strings.Builder
			for _, w := range workers {
				logs.WriteString(w.log.String())
			}
			require.Contains(t, logs.String(), "went back to an earlier state")
			require.Contains(t, logs.String(), "erased orders removed")

			expected, err := ledger.Expect(p.ctx, []string{p.brokers}, "orders")
			require.NoError(t, err)
			require.Equal(t, expected.Records, load.Sent())
			world := ledger.World{Brokers: []string{p.brokers}, Topic: "orders", DLQ: "orders.dlq", Group: "orderhub", Database: p.database}
			for _, r := range readers {
				world.Readers = append(world.Readers, r.addr)
			}
			for _, r := range readers {
				p.seen(r, byHand.OrderUID, "") // it is gone, and came from no topic
				p.seen(r, forgotten.OrderUID, "")
			}
			found, err := ledger.Account(p.ctx, world, expected)
			require.NoError(t, err)
			require.True(t, found.Exact(), "%s", found)
		})
	}
}

// insert stores an order as psql would.
func (p *pipeline) insert(o *model.Order) {
	p.t.Helper()
	conn, err := pgx.Connect(p.ctx, p.database)
	require.NoError(p.t, err)
	defer func() { _ = conn.Close(p.ctx) }()
	require.NoError(p.t, pgx.BeginFunc(p.ctx, conn, func(tx pgx.Tx) error { return ledger.Insert(p.ctx, tx, o) }))
}

// orders is how many orders the tables have.
func (p *pipeline) orders() (n int) {
	p.t.Helper()
	require.NoError(p.t, p.db.QueryRowContext(p.ctx, `SELECT count(*) FROM orders`).Scan(&n))
	return n
}
