package ingest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

const copyConns = 2

// contender stores the orders of a topic into a fresh database in its own way.
type contender struct {
	name string
	run  func(ctx context.Context, t *trial) rig.Use
}

type trial struct {
	*Benchmark
	orders   *rig.Orders
	database string // fresh
	group    string // fresh
	stored   int    // orders that the database holds already
}

// The contenders. All others are compared with the first.
var (
	rawCopy      = copyInto("raw COPY, no triggers", plainCopy, withoutTriggers()...)
	copyTriggers = copyInto("raw COPY with triggers", asTheWorker)
	worker       = contender{"ingest-worker", runWorkers(1)}
	lookingUp    = contender{"ingest-worker, foreign keys looked up", runLookingUp}
	newest       = contender{"ingest-worker, " + onConflict, runWorkers(1, onConflict)}
	unlisted     = contender{"ingest-worker, without the indexes of lists", runWorkers(1)}
	otherBuild   = contender{"ingest-worker, other build", runOtherBuild}
	unmarshal    = contender{"encoding/json.Unmarshal, nothing stored", runUnmarshal}
	single       = contender{"a transaction an order, 1 connection", runSingle(1)}
	singlePair   = contender{"a transaction an order, 2 connections", runSingle(2)}
)

// wholeOrders makes a transaction do what the worker's do.
const wholeOrders = "SET LOCAL " + orderdb.WholeOrdersSetting + " = 'on'"

var (
	plainCopy   = rig.CopyOptions{Conns: copyConns}
	asTheWorker = rig.CopyOptions{Conns: copyConns, Before: wholeOrders, After: "NOTIFY " + orderdb.NotifyChannel}
)

// eachTable is a statement for each table, whose name replaces %[1]s.
func eachTable(statement string, tables []*orderdb.Table) (statements []string) {
	for _, t := range tables {
		statements = append(statements, fmt.Sprintf(statement, t.Name))
	}
	return statements
}

// withoutTriggers leaves the foreign keys, whose triggers are the system's.
func withoutTriggers() []string {
	return eachTable("ALTER TABLE %[1]s DISABLE TRIGGER USER", orderdb.Tables[:])
}

// copyInto is raw COPY after statements that change the schema.
func copyInto(name string, options rig.CopyOptions, statements ...string) contender {
	return contender{name, func(ctx context.Context, t *trial) rig.Use {
		must.Succeed(postgres.Execute(ctx, t.database, statements...))
		return rig.Meter{Site: t.site, Waits: true}.During(ctx, t.orders.Count, func() { t.orders.Copy(ctx, t.database, options) })
	}}
}

// schemaContenders are raw COPY into tables that lack something. What it costs is
// the difference to the first. The last is what any other client's COPY costs:
// each part stamps its order.
func schemaContenders() []contender {
	const newest, changeXID = "DROP INDEX IF EXISTS " + migrations.NewestIndex, "DROP INDEX orders_change_xid"
	unlinked := eachTable("ALTER TABLE %[1]s DROP CONSTRAINT %[1]s_order_uid_fkey", orderdb.Tables[1:])
	unindexed := append(eachTable("ALTER TABLE %[1]s DROP CONSTRAINT %[1]s_pkey CASCADE", orderdb.Tables[:]), newest, changeXID)
	without := func(name string, statements ...string) contender {
		return copyInto("without "+name, plainCopy, append(withoutTriggers(), statements...)...)
	}
	return []contender{
		rawCopy,
		without(migrations.NewestIndex, newest),
		without("orders_change_xid", changeXID),
		without("foreign keys", unlinked...),
		without("any key or index", unindexed...),
		copyTriggers,
		copyInto("triggers without "+orderdb.WholeOrdersSetting, plainCopy),
	}
}

// runWorkers has the real worker drain the topic, or several that share it. The
// clock starts when all of them have joined the group and have asked for records.
func runWorkers(count int, environment ...string) func(context.Context, *trial) rig.Use {
	return func(ctx context.Context, t *trial) rig.Use {
		workers := t.site.HoldWorkers(ctx, count, t.orders.Topic, t.group, t.database, environment...)
		defer rig.StopAll(workers)
		u := rig.Meter{Site: t.site, Clients: workers, Waits: true}.During(ctx, t.orders.Count, func() {
			t.site.StartProfile(ctx, t.group, workers[0])
			t.site.Drain(ctx, workers, t.orders.Count)
		})
		checkStored(ctx, t)
		return u
	}
}

// onConflict has the worker replace orders by newer records of them.
const onConflict = "INGEST_ON_CONFLICT=newest"

// versions drains a topic that has so many orders, and for the rest newer versions of them.
func versions(topic string, orders int) contender {
	return contender{"ingest-worker, every fifth record a newer version", func(ctx context.Context, t *trial) rig.Use {
		workers := t.site.HoldWorkers(ctx, 1, topic, t.group, t.database, onConflict)
		defer rig.StopAll(workers)
		u := rig.Meter{Site: t.site, Clients: workers}.During(ctx, t.orders.Count, func() { t.site.Drain(ctx, workers, t.orders.Count) })
		if stored := rig.Query[int](ctx, t.database, "SELECT count(*) FROM orders")[0]; stored != orders {
			must.Succeed(fmt.Errorf("there are %d orders afterwards, not %d", stored, orders))
		}
		return u
	}}
}

// runLookingUp has the worker without the right by which it skips the look-ups for
// foreign keys.
func runLookingUp(ctx context.Context, t *trial) rig.Use {
	must.Succeed(t.site.Server.Admin(ctx, rig.RevokeReplicaRole))
	defer func() { must.Succeed(t.site.Server.Admin(ctx, rig.GrantReplicaRole)) }()
	return worker.run(ctx, t)
}

// runUnmarshal only decodes as many orders, by the standard library.
func runUnmarshal(ctx context.Context, t *trial) rig.Use {
	return rig.Meter{Site: t.site}.During(ctx, t.orders.Count, func() {
		for i := range t.orders.Count {
			must.Succeed(json.Unmarshal(t.orders.Values[i%len(t.orders.Values)], new(model.Order)))
		}
	})
}

func runOtherBuild(ctx context.Context, t *trial) rig.Use {
	own := t.site.Binaries
	defer func() { t.site.Binaries = own }()
	t.site.Binaries = t.Compare
	return worker.run(ctx, t)
}

// warm makes a contender start with a database in use: as many orders again are
// stored first. Then pages are in memory, and their first change after the
// checkpoint, which writes the whole page to the WAL, is done.
func warm(c contender, orders *rig.Orders) contender {
	return contender{c.name + warmSuffix, func(ctx context.Context, t *trial) rig.Use {
		orders.Copy(ctx, t.database, rig.CopyOptions{Conns: copyConns, Before: wholeOrders})
		t.stored += orders.Count
		return c.run(ctx, t)
	}}
}

const warmSuffix = ", warm"

// checkStored compares the tables with what was published: a rate does not count
// where something is missing.
func checkStored(ctx context.Context, t *trial) {
	for _, table := range orderdb.Tables {
		rows := rig.Query[int](ctx, t.database, "SELECT count(*) FROM "+table.Name)[0]
		want := t.orders.Count + t.stored
		if table == orderdb.Items.Table {
			want *= t.orders.Items
		}
		if rows != want {
			must.Succeed(fmt.Errorf("table %s has %d rows afterwards, not %d", table.Name, rows, want))
		}
	}
}

// runSingle stores orders as most services do: a transaction for each order and a
// statement for each row. One connection is a consumer that takes one record after
// another. It takes only as many orders as give a rate. Triggers and notifications,
// which would make it slower, are off.
func runSingle(conns int) func(context.Context, *trial) rig.Use {
	return func(ctx context.Context, t *trial) rig.Use {
		orders := t.orders.Sample[:min(len(t.orders.Sample), t.Single)]
		var parts []func(context.Context)
		for first := range conns {
			parts = append(parts, func(ctx context.Context) {
				conn := must.Get(pgx.Connect(ctx, t.database))
				defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
				must.Get(conn.Exec(ctx, "SET "+orderdb.WholeOrdersSetting+" = 'on'"))
				for i := first; i < len(orders); i += conns {
					must.Succeed(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return ledger.Insert(ctx, tx, orders[i]) }))
				}
			})
		}
		return rig.Meter{Site: t.site}.During(ctx, len(orders), func() { must.Together(ctx, parts...) })
	}
}
